//! What is shown, and what events and keys change of it.

use std::collections::HashMap;

use ratatui::crossterm::event::{Event as TerminalEvent, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::model::histogram::{self, Recent};
use crate::model::map::Map;
use crate::model::pulse::Pulse;
use crate::model::searches::Searches;
use crate::model::tasks::Tasks;
use crate::model::{Asked, Health, Index, Recall, Server};
use crate::sessions::{Beat, Event, Question, Views};
use crate::theme::Theme;

/// Searches of so many seconds tell the latency.
const LATENCY_SECONDS: f64 = 10.0;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Screen {
    #[default]
    Overview,
    Map,
    Indexes,
    Searches,
}

/// Whether the server answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Connection {
    /// Not yet.
    Opening,
    Open,
    /// Not any more, and why.
    Lost(String),
}

/// The room for cells that a map has on the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Room {
    pub columns: usize,
    pub rows: usize,
}

/// What the loop has to do after a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    None,
    Quit,
    Ask(Question, u32),
    Cancel,
}

pub struct App {
    pub theme: Theme,
    pub connection: Connection,
    pub server: Server,
    pub clock: String,
    pub indexes: Vec<Index>,
    /// The index that is shown.
    pub chosen: Option<Index>,
    /// The name of the index that is to be shown first.
    first: Option<String>,
    pub pulse: Pulse,
    latency: Recent,
    pub tasks: Tasks,
    pub searches: Searches,
    /// Of the index, and of its table.
    pub maps: [Map; 2],
    pub rooms: [Room; 2],
    /// The map whose cursor moves.
    pub focus: usize,
    pub health: HashMap<u32, Asked<Health>>,
    pub recall: HashMap<u32, Asked<Recall>>,
    pub screen: Screen,
    pub has_help: bool,
    /// Whether cells show the kind of their pages.
    pub shows_kinds: bool,
    /// Lines of a list that are above the screen.
    pub scrolled: usize,
}

impl App {
    pub fn new(theme: Theme, first: Option<String>) -> Self {
        Self {
            theme,
            connection: Connection::Opening,
            server: Server::default(),
            clock: String::new(),
            indexes: Vec::new(),
            chosen: None,
            first,
            pulse: Pulse::default(),
            latency: Recent::default(),
            tasks: Tasks::default(),
            searches: Searches::default(),
            maps: Default::default(),
            rooms: Default::default(),
            focus: 0,
            health: HashMap::new(),
            recall: HashMap::new(),
            screen: Screen::default(),
            has_help: false,
            shows_kinds: false,
            scrolled: 0,
        }
    }

    /// Takes what a thread has learnt.
    pub fn take(&mut self, event: Event) -> Action {
        match event {
            Event::Terminal(TerminalEvent::Key(key)) if key.kind != KeyEventKind::Release => {
                return self.press(key);
            }
            Event::Terminal(_) => {}
            Event::Beat(beat) => self.take_beat(*beat),
            Event::Lost(why) => {
                self.connection = Connection::Lost(why);
                self.pulse.miss();
                self.tasks = Tasks::default();
                self.searches.add(Vec::new());
            }
            Event::Looked(look) => {
                self.maps.iter_mut().filter(|map| map.oid == look.oid).for_each(|map| map.take(look.clone()))
            }
            Event::NotLooked(oid, why) => self.maps.iter_mut().for_each(|map| map.fail(oid, why.clone())),
            Event::Health(oid, answer) => drop(self.health.insert(oid, answered(answer))),
            Event::Recall(oid, answer) => drop(self.recall.insert(oid, answered(answer))),
        }
        Action::None
    }

    fn take_beat(&mut self, beat: Beat) {
        let Beat { server, clock, counters, indexes, tasks, searches } = beat;
        self.connection = Connection::Open;
        (self.server, self.clock) = (server, clock);
        let at = counters.at;
        self.searches.add(searches);
        let counted = histogram::sum(indexes.iter().map(|index| &*index.latency));
        let recent = self.latency.add(at, counted, LATENCY_SECONDS);
        let [p50, p99] = [0.5, 0.99].map(|share| match &*self.server.latency_bounds {
            [] => histogram::percentile_of(self.searches.times_since(at - LATENCY_SECONDS), share),
            bounds => histogram::percentile(&recent, bounds, share),
        });
        self.pulse.add(counters, p50, p99);
        self.tasks.update(at, tasks);
        self.indexes = indexes;
        let same = |chosen: &Index| self.indexes.iter().find(|index| index.oid == chosen.oid);
        let named = || self.indexes.iter().find(|index| Some(&index.name) == self.first.as_ref());
        let largest = || self.indexes.iter().max_by_key(|index| index.pages);
        let chosen = self.chosen.as_ref().and_then(same).or_else(named).or_else(largest).cloned();
        self.choose(chosen);
    }

    fn choose(&mut self, index: Option<Index>) {
        let oids = index.as_ref().map_or((0, 0), |index| (index.oid, index.table_oid));
        self.maps[0].show(oids.0);
        self.maps[1].show(oids.1);
        self.chosen = index;
    }

    /// The views that the maps want.
    pub fn views(&self) -> Views {
        if self.connection != Connection::Open || self.server.walia.is_none() {
            return Views::default();
        }
        let shown = self
            .maps
            .iter()
            .zip(self.rooms)
            .filter(|(map, room)| map.oid != 0 && room.columns * room.rows > 0);
        // walia_page_map gives no more ranges.
        let views =
            shown.map(|(map, room)| (map.oid, map.part(), (room.columns * room.rows).min(10_000) as i64));
        Views { server: self.server.clone(), views: views.collect() }
    }

    fn press(&mut self, key: KeyEvent) -> Action {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Action::Quit } else { Action::None };
        }
        if self.has_help {
            self.has_help = false;
            return if key.code == KeyCode::Char('q') { Action::Quit } else { Action::None };
        }
        match key.code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('?') => self.has_help = true,
            KeyCode::Char('1') => self.turn_to(Screen::Overview),
            KeyCode::Char('2') => self.turn_to(Screen::Map),
            KeyCode::Char('3') => self.turn_to(Screen::Indexes),
            KeyCode::Char('4') => self.turn_to(Screen::Searches),
            KeyCode::Char('n') => self.choose_next(1),
            KeyCode::Char('p') => self.choose_next(-1),
            KeyCode::Char('k') => self.shows_kinds = !self.shows_kinds,
            KeyCode::Char('h') => return self.ask(Question::Health),
            KeyCode::Char('r') => return self.ask(Question::Recall),
            KeyCode::Char('c') | KeyCode::Esc => return Action::Cancel,
            KeyCode::Tab | KeyCode::BackTab => self.focus = 1 - self.focus,
            KeyCode::Left => self.go(-1, 0),
            KeyCode::Right => self.go(1, 0),
            KeyCode::Up => self.go(0, -1),
            KeyCode::Down => self.go(0, 1),
            KeyCode::Home => self.maps[self.focus].go(isize::MIN),
            KeyCode::End => self.maps[self.focus].go(isize::MAX),
            KeyCode::Enter | KeyCode::Char('+') => self.maps[self.focus].zoom_in(),
            KeyCode::Backspace | KeyCode::Char('-') => self.maps[self.focus].zoom_out(),
            _ => {}
        }
        Action::None
    }

    fn turn_to(&mut self, screen: Screen) {
        self.screen = screen;
        self.scrolled = 0;
    }

    /// Moves the cursor of the map, or the list.
    fn go(&mut self, columns: isize, rows: isize) {
        match self.screen {
            Screen::Overview | Screen::Map => {
                let of_row = self.rooms[self.focus].columns as isize;
                self.maps[self.focus].go(columns + rows * of_row);
            }
            Screen::Indexes => self.choose_next(rows),
            Screen::Searches => {
                let most = self.searches.newest_first().len().saturating_sub(1);
                self.scrolled = self.scrolled.saturating_add_signed(rows).min(most);
            }
        }
    }

    fn choose_next(&mut self, step: isize) {
        let place = |chosen: &Index| self.indexes.iter().position(|index| index.oid == chosen.oid);
        let next = match self.chosen.as_ref().and_then(place) {
            Some(place) => place.saturating_add_signed(step).min(self.indexes.len() - 1),
            None => 0,
        };
        self.choose(self.indexes.get(next).cloned());
    }

    fn ask(&mut self, question: Question) -> Action {
        let Some(oid) =
            self.chosen.as_ref().map(|index| index.oid).filter(|_| self.connection == Connection::Open)
        else {
            return Action::None;
        };
        let is_waiting = match question {
            Question::Health => matches!(self.health.insert(oid, Asked::Waiting), Some(Asked::Waiting)),
            Question::Recall => matches!(self.recall.insert(oid, Asked::Waiting), Some(Asked::Waiting)),
        };
        if is_waiting { Action::None } else { Action::Ask(question, oid) }
    }
}

fn answered<T>(answer: Result<T, String>) -> Asked<T> {
    match answer {
        Ok(answer) => Asked::Answered(answer),
        Err(why) => Asked::Failed(why),
    }
}
