//! `walia-top`: the page map and the pulse of walia's indexes, in a terminal, by SQL alone.

mod app;
mod format;
mod model;
mod options;
mod queries;
mod screens;
mod sessions;
mod theme;

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use ratatui::backend::{Backend, TestBackend};
use ratatui::crossterm::event;
use ratatui::{DefaultTerminal, Terminal};

use crate::app::{Action, App, Connection};
use crate::options::{Options, variable};
use crate::sessions::{Event, Link, Request, Running, Wanted};
use crate::theme::{Colours, Theme};

/// The size of a screen that is printed.
const PRINTED: (u16, u16) = (100, 32);
/// A screen is printed once rates are known, or after so long without.
const PRINT_LIMIT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("walia-top: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let config = options::config(options.connection.as_deref(), variable)?;
    let (events, received) = channel();
    let mut top = Top::start(options, Link { config, events: events.clone() }, received);
    let is_dumb = variable("TERM").is_none_or(|term| term == "dumb");
    if options.once || is_dumb || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return top.print();
    }
    let terminal = ratatui::try_init()?;
    read_terminal(events);
    let done = top.follow(terminal);
    ratatui::restore();
    done
}

/// Sends what the terminal says.
fn read_terminal(events: Sender<Event>) {
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if events.send(Event::Terminal(event)).is_err() {
                return;
            }
        }
    });
}

/// The app, and the threads that ask for it.
struct Top {
    app: App,
    received: Receiver<Event>,
    wanted: Arc<Wanted>,
    requests: Sender<Request>,
    running: Running,
}

impl Top {
    fn start(options: &Options, link: Link, received: Receiver<Event>) -> Self {
        let app = App::new(Theme::of(variable, options.ascii), options.index.clone());
        let (requests, asked) = channel();
        let (wanted, running) = (Arc::new(Wanted::default()), Running::new(Mutex::new(None)));
        sessions::follow_pulse(link.clone(), Duration::from_secs_f64(options.interval));
        sessions::follow_maps(link.clone(), Arc::clone(&wanted));
        sessions::answer(link, asked, Arc::clone(&running), Duration::from_secs_f64(options.limit));
        Self { app, received, wanted, requests, running }
    }

    /// Draws, and takes events, until a key says that it is enough.
    fn follow(&mut self, mut terminal: DefaultTerminal) -> Result<()> {
        loop {
            self.draw(&mut terminal)?;
            // Events that came together are drawn together.
            let mut event = Some(self.received.recv()?);
            while let Some(taken) = event {
                match self.app.take(taken) {
                    Action::None => {}
                    Action::Quit => return Ok(()),
                    Action::Ask(question, oid) => {
                        let server = self.app.server.clone();
                        self.requests.send(Request { question, server, oid })?;
                    }
                    Action::Cancel => sessions::cancel(&self.running),
                }
                event = self.received.try_recv().ok();
            }
        }
    }

    /// Draws the screen, and asks for maps of the size that it has room for.
    fn draw<B: Backend>(&mut self, terminal: &mut Terminal<B>) -> Result<(), B::Error> {
        let mut rooms = self.app.rooms;
        terminal.draw(|frame| rooms = screens::draw(frame, &self.app))?;
        self.app.rooms = rooms;
        self.wanted.set(self.app.views());
        Ok(())
    }

    /// Prints a screen as text, once it shows rates and maps.
    fn print(&mut self) -> Result<()> {
        self.app.theme.colours = Colours::None;
        let mut terminal = Terminal::new(TestBackend::new(PRINTED.0, PRINTED.1))?;
        let deadline = Instant::now() + PRINT_LIMIT;
        while !self.is_complete() {
            self.draw(&mut terminal)?;
            match self.received.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) => self.app.take(event),
                Err(RecvTimeoutError::Timeout) => break,
                Err(disconnected) => return Err(disconnected.into()),
            };
            if let Connection::Lost(why) = &self.app.connection {
                anyhow::bail!("could not connect to the server: {why}");
            }
        }
        self.draw(&mut terminal)?;
        let buffer = terminal.backend().buffer();
        let mut text = String::new();
        for row in buffer.content.chunks(PRINTED.0.into()) {
            let line: String = row.iter().map(|cell| cell.symbol()).collect();
            text += line.trim_end();
            text.push('\n');
        }
        match std::io::stdout().write_all(text.as_bytes()) {
            // Who reads it has read enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }

    /// Whether all that is shown at once is known: rates, and a map unless there is none.
    fn is_complete(&self) -> bool {
        let app = &self.app;
        let is_drawn = |map: &model::map::Map| map.oid == 0 || map.cell_pages > 0 || map.failure.is_some();
        app.pulse.wal.last().is_some() && (app.server.walia.is_none() || app.maps.iter().all(is_drawn))
    }
}
