//! Whole screens, as drawn of what threads would have told: `expected/` has them as text.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event as TerminalEvent, KeyCode};
use ratatui::style::Color;

use crate::app::{Action, App};
use crate::model::map::{Cell, Look, Part, Sample};
use crate::model::pulse::Counters;
use crate::model::searches::{Search, State};
use crate::model::tasks::Task;
use crate::model::{Health, Index, Recall, Server};
use crate::sessions::{Beat, Event, Question};
use crate::theme::{Colours, Theme};

const PLAIN: Theme = Theme { colours: Colours::None, is_ascii: false };

fn server() -> Server {
    Server {
        version: "18.1".into(),
        major: 18,
        database: "shop".into(),
        role: "ann".into(),
        block_size: 8192,
        walia: Some("0.2.0".into()),
        schema: "public".into(),
        has_statistics: false,
        latency_bounds: Vec::new(),
    }
}

fn index() -> Index {
    Index {
        oid: 1,
        name: "item_embedding".into(),
        table_oid: 2,
        table: "item".into(),
        is_valid: true,
        pages: 40_000,
        searches: 120_000,
        inserts: Some(3_000_000),
        pages_hit: 9_800,
        pages_read: 200,
        links_healed: Some(3),
        p50: Some(0.31),
        p99: Some(1.24),
        dead_rows: 1200,
        latency: Vec::new(),
    }
}

/// What is told at a second of the server's clock.
fn beat(second: i64) -> Event {
    let wave = |height: i64| (1..=second).map(|second| height * (3 + second * second % 7)).sum();
    let counters = Counters {
        at: second as f64,
        read_bytes: Some(wave(900_000)),
        written_bytes: Some(wave(12_000_000)),
        wal_bytes: Some(wave(16_000_000)),
        searches: Some(wave(850)),
        inserts: Some(wave(1200)),
        pages_hit: Some(980 * second),
        pages_read: Some(20 * second),
    };
    let search = |pid: i32, milliseconds: f64, state: State| Search {
        pid,
        role: "ann".into(),
        started: second as f64,
        milliseconds,
        state,
        wait: if state == State::Running { "IO DataFileRead".into() } else { String::new() },
        text: "SELECT id FROM item ORDER BY embedding <~> '[0.1, 0.2, 0.3]' LIMIT 10".into(),
    };
    let mut second_index = index();
    (second_index.oid, second_index.name, second_index.pages) = (3, "item_title".into(), 2_000);
    (second_index.p50, second_index.links_healed) = (None, None);
    Event::Beat(Box::new(Beat {
        server: server(),
        clock: format!("14:03:{second:02}"),
        counters,
        indexes: vec![index(), second_index],
        tasks: vec![Task {
            pid: 9,
            command: "CREATE INDEX".into(),
            relation: "item".into(),
            phase: "building graph".into(),
            done: 1_000_000 + 40_000 * second,
            total: 3_000_000,
            seconds: 60.0 + second as f64,
            unit: "rows".into(),
        }],
        searches: vec![
            search(11, 0.25 + 0.03 * (second % 5) as f64, State::Ended),
            search(12, 85.2, State::Running),
        ],
    }))
}

/// A look at a relation: half of it is cached, and what was just written lies at its end.
fn look(oid: u32, cells: i64, cell_pages: i64, kinds: &[&str], written: i64) -> Event {
    let cell = |number: i64| Cell {
        first: number * cell_pages,
        pages: cell_pages,
        sample: Some(Sample {
            kind: kinds[number as usize % kinds.len()].into(),
            tuples: 24 * cell_pages,
            tombstones: number % 2,
            free_bytes: 900 * cell_pages,
        }),
        cached: Some(cell_pages * (cells - number).min(cells / 2) / (cells / 2).max(1)),
        dirty: if number >= cells - written { cell_pages } else { 0 },
        usage: 2.0 * cell_pages as f64,
        ..Cell::default()
    };
    let part = Part { first: 0, pages: None };
    // One cell has come in two seconds.
    let at = if written > 0 { 20.0 } else { 18.0 };
    let cells = if written > 0 { cells } else { cells - 1 };
    Event::Looked(Look {
        oid,
        at,
        part,
        cell_pages,
        pages: cells * cell_pages,
        is_sampled: true,
        cells: (0..cells).map(cell).collect(),
    })
}

/// An app that has watched for twenty seconds.
fn watched(theme: Theme) -> App {
    let mut app = App::new(theme, None);
    for second in 1..=20 {
        app.take(beat(second));
    }
    for written in [0, 6] {
        app.take(look(1, 157, 256, &["nodes", "nodes", "nodes", "upper links", "payloads"], written));
        app.take(look(2, 94, 64, &["table"], written / 2));
    }
    app
}

fn press(app: &mut App, key: KeyCode) -> Action {
    app.take(Event::Terminal(TerminalEvent::Key(key.into())))
}

fn draw(app: &mut App, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut rooms = app.rooms;
    terminal.draw(|frame| rooms = super::draw(frame, app)).unwrap();
    app.rooms = rooms;
    terminal
}

fn text(app: &mut App, width: u16, height: u16) -> String {
    let terminal = draw(app, width, height);
    let rows = terminal.backend().buffer().content.chunks(width.into());
    rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned() + "\n")
        .collect()
}

fn assert_screen(app: &mut App, expected: &str) {
    let shown = text(app, 80, 24);
    assert!(shown == expected, "the screen is\n{shown}\nand not\n{expected}");
}

#[test]
fn the_overview() {
    let mut app = watched(PLAIN);
    assert_screen(&mut app, include_str!("expected/overview.txt"));
    assert_eq!(press(&mut app, KeyCode::Char('h')), Action::Ask(Question::Health, 1));
    assert_eq!(press(&mut app, KeyCode::Char('h')), Action::None);
    assert_eq!(press(&mut app, KeyCode::Char('r')), Action::Ask(Question::Recall, 1));
    let shown = text(&mut app, 80, 24);
    assert!(shown.contains("reading the index (c cancels)") && shown.contains("measuring recall"), "{shown}");
    assert_eq!(press(&mut app, KeyCode::Char('c')), Action::Cancel);
    app.take(Event::Health(
        1,
        Ok(Health {
            nodes: 3_000_000,
            tombstones: 812,
            unreachable: 2,
            drift: Some(0.31),
            reindex_recommended: true,
            clock: "14:03:21".into(),
        }),
    ));
    let recall =
        Recall { recall: Some(0.987), samples: 100, median_ms: Some(0.42), clock: "14:03:25".into() };
    app.take(Event::Recall(1, Ok(recall)));
    assert_screen(&mut app, include_str!("expected/asked.txt"));
    assert!(
        include_str!("../../../docs/TOP.md").contains(include_str!("expected/asked.txt")),
        "docs/TOP.md has another one"
    );
    app.take(Event::Recall(1, Err("permission denied for table item".into())));
    let shown = text(&mut app, 80, 24);
    assert!(shown.contains("permission denied for table item"), "{shown}");
}

#[test]
fn the_overview_in_ascii() {
    let mut app = watched(Theme { is_ascii: true, ..PLAIN });
    let shown = text(&mut app, 80, 24);
    assert!(shown.is_ascii(), "{shown}");
    assert_screen(&mut app, include_str!("expected/ascii.txt"));
}

#[test]
fn the_other_screens() {
    let mut app = watched(PLAIN);
    press(&mut app, KeyCode::Char('2'));
    text(&mut app, 80, 24);
    press(&mut app, KeyCode::Right);
    press(&mut app, KeyCode::Down);
    assert_eq!(app.maps[0].cursor, 39);
    assert_screen(&mut app, include_str!("expected/map.txt"));
    press(&mut app, KeyCode::Char('k'));
    let shown = text(&mut app, 80, 24);
    assert!(shown.contains("nnnupnnnup") && shown.contains("tttttttttt"), "{shown}");
    press(&mut app, KeyCode::Char('3'));
    assert_screen(&mut app, include_str!("expected/indexes.txt"));
    press(&mut app, KeyCode::Down);
    assert_eq!(app.maps[0].oid, 3);
    press(&mut app, KeyCode::Char('4'));
    assert_screen(&mut app, include_str!("expected/searches.txt"));
    press(&mut app, KeyCode::Char('?'));
    assert_screen(&mut app, include_str!("expected/help.txt"));
    press(&mut app, KeyCode::Char('x'));
    assert_eq!(press(&mut app, KeyCode::Char('q')), Action::Quit);
}

#[test]
fn a_server_that_is_away() {
    let mut app = watched(PLAIN);
    app.take(Event::Lost("server away: Connection refused (os error 111)".into()));
    assert_screen(&mut app, include_str!("expected/away.txt"));
    app.take(beat(30));
    let shown = text(&mut app, 80, 24);
    assert!(!shown.contains("away") && shown.contains("14:03:30"), "{shown}");
}

#[test]
fn a_database_without_walia() {
    let mut app = App::new(PLAIN, None);
    let Event::Beat(mut told) = beat(1) else { unreachable!() };
    told.server.walia = None;
    told.indexes.clear();
    app.take(Event::Beat(told));
    let shown = text(&mut app, 80, 24);
    assert!(shown.contains("This database does not have the"), "{shown}");
    assert!(app.views().views.is_empty());
}

#[test]
fn maps_are_wanted_as_there_is_room() {
    let mut app = watched(PLAIN);
    text(&mut app, 80, 24);
    let whole = Part { first: 0, pages: None };
    let room = |app: &App| (app.rooms[0].columns * app.rooms[0].rows) as i64;
    assert_eq!(app.views().views, [(1, whole, room(&app)), (2, whole, room(&app))]);
    let small = room(&app);
    text(&mut app, 200, 60);
    assert!(room(&app) > 10 * small);
    press(&mut app, KeyCode::Enter);
    assert_eq!(app.views().views[0].1, Part { first: 0, pages: Some(256) });
    press(&mut app, KeyCode::Char('3'));
    text(&mut app, 200, 60);
    assert!(app.views().views.is_empty());
}

#[test]
fn colours_are_those_of_the_design() {
    let mut app = watched(Theme { colours: Colours::Many, is_ascii: false });
    let terminal = draw(&mut app, 80, 24);
    let buffer = terminal.backend().buffer();
    let colours = |from: u16, to: u16| {
        let cells = (8..13).flat_map(move |y| (from..to).map(move |x| &buffer[(x, y)]));
        let mut colours: Vec<Color> = cells.filter(|cell| cell.symbol() == "■").map(|cell| cell.fg).collect();
        colours.dedup();
        colours
    };
    let indexed = |colours: &[u8]| colours.iter().map(|colour| Color::Indexed(*colour)).collect::<Vec<_>>();
    // Cached, then less and less, then what was just written.
    assert_eq!(colours(1, 39), indexed(&[44, 37, 30, 159]));
    assert_eq!(colours(41, 79), indexed(&[164, 127, 90, 225]));
}

#[test]
fn any_size_will_do() {
    for (width, height) in [(1, 1), (20, 5), (60, 16), (61, 17), (80, 24), (132, 50), (300, 100)] {
        let mut app = watched(PLAIN);
        for key in "12345k?".chars() {
            press(&mut app, KeyCode::Char(key));
            text(&mut app, width, height);
        }
    }
}
