//! What the screens look like. They draw what the app knows, and say how much room there is for maps.

mod help;
mod lists;
mod maps;
mod panels;
mod pulse;
#[cfg(test)]
mod tests;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};

use crate::app::{App, Connection, Room, Screen};
use crate::theme::Theme;

/// Smaller than this, nothing can be read.
const LEAST: (u16, u16) = (60, 16);

/// Draws the screen and gives the room of the two maps.
pub fn draw(frame: &mut Frame, app: &App) -> [Room; 2] {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("walia-top needs {} x {} characters", LEAST.0, LEAST.1);
        frame.render_widget(Paragraph::new(text), area);
        return app.rooms;
    }
    let [top, body, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    header(frame, app, top);
    let mut rooms = [Room::default(); 2];
    match app.screen {
        Screen::Overview => rooms = overview(frame, app, body),
        Screen::Map => rooms = maps::whole(frame, app, body),
        Screen::Indexes => lists::indexes(frame, app, body),
        Screen::Searches => lists::searches(frame, app, body),
    }
    footer(frame, app, bottom);
    if app.has_help {
        help::draw(frame, app, body);
    }
    rooms
}

fn overview(frame: &mut Frame, app: &App, area: Rect) -> [Room; 2] {
    let tasks = app.tasks.iter().count().clamp(1, 3) as u16;
    let [pulse, maps, tasks, bottom] = Layout::vertical([
        Constraint::Length(6),
        Constraint::Fill(1),
        Constraint::Length(tasks + 2),
        Constraint::Length(if area.height > 34 { 10 } else { 5 }),
    ])
    .areas(area);
    let [health, searches] =
        Layout::horizontal([Constraint::Percentage(50), Constraint::Fill(1)]).areas(bottom);
    pulse::draw(frame, app, pulse);
    panels::tasks(frame, app, tasks);
    panels::health(frame, app, health);
    panels::searches(frame, app, searches);
    maps::both(frame, app, maps)
}

fn header(frame: &mut Frame, app: &App, area: Rect) {
    let theme = app.theme;
    let name =
        Span::styled(" walia-top ", theme.side(true).add_modifier(Modifier::BOLD | Modifier::REVERSED));
    let server = &app.server;
    let mut line = vec![name];
    if !server.database.is_empty() {
        let walia = match &server.walia {
            Some(version) => format!("walia {version}"),
            None => "no walia: CREATE EXTENSION walia".into(),
        };
        line.push(Span::raw(format!(" {} ", server.database)));
        let facts = format!("as {} · Postgres {} · {walia}", server.role, server.version);
        line.push(Span::styled(theme.text(&facts), theme.label()));
    }
    let state = match &app.connection {
        Connection::Opening => Span::styled("connecting ", theme.warm()),
        Connection::Open => Span::raw(format!("{} ", app.clock)),
        Connection::Lost(why) => Span::styled(theme.text(&format!(" {why} ")), theme.bad()),
    };
    // What is wrong counts for more than what is connected.
    let width = (state.width() as u16).min(area.width - 12);
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(width)]).areas(area);
    frame.render_widget(Line::from(line), left);
    frame.render_widget(Line::from(state), right);
}

fn footer(frame: &mut Frame, app: &App, area: Rect) {
    let theme = app.theme;
    let keys: &[(&str, &str)] = match app.screen {
        Screen::Overview | Screen::Map => &[
            ("q", "quit"),
            ("1-4", "screens"),
            ("n p", "index"),
            ("tab", "side"),
            ("arrows + -", "zoom"),
            ("h", "health"),
            ("r", "recall"),
            ("?", "help"),
        ],
        Screen::Indexes => &[
            ("q", "quit"),
            ("1-4", "screens"),
            ("up down", "index"),
            ("h", "health"),
            ("r", "recall"),
            ("?", "help"),
        ],
        Screen::Searches => &[("q", "quit"), ("1-4", "screens"), ("up down", "scroll"), ("?", "help")],
    };
    let key = Style::new().add_modifier(Modifier::BOLD);
    let spans = keys.iter().flat_map(|(name, does)| {
        [Span::styled(format!(" {name}"), key), Span::styled(format!(" {does}"), theme.label())]
    });
    frame.render_widget(Line::from_iter(spans), area);
}

/// A panel with a title.
fn panel(theme: Theme, title: Line<'static>) -> Block<'static> {
    Block::bordered().border_set(theme.border()).border_style(theme.label()).title(title)
}

/// A panel whose title is words.
fn titled(theme: Theme, title: &str) -> Block<'static> {
    panel(theme, Line::from(format!(" {} ", theme.text(title))))
}
