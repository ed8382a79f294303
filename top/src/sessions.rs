//! The threads that ask the server, each with a session of its own, so that no question waits for another.
//!
//! They send what they learn as events, open a lost session again, and never stop the program.

use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use postgres::{CancelToken, Client, Config, NoTls};

use crate::model::map::{Look, Part};
use crate::model::pulse::Counters;
use crate::model::searches::Search;
use crate::model::tasks::Task;
use crate::model::{Health, Index, Recall, Server};
use crate::queries;

/// Milliseconds that a query may take that is asked all the time.
const LIMIT_MS: u64 = 5000;
/// Between two looks at the map at least, and this many times as long as a look took: looking takes a small
/// share of a server.
const MAP_PAUSE: Duration = Duration::from_secs(2);
const MAP_PAUSE_BY_LOOK: u32 = 20;
/// Samples are of the pages themselves, and are taken more seldom.
const SAMPLE_PAUSE: Duration = Duration::from_secs(20);

/// What a thread has learnt.
#[derive(Debug)]
pub enum Event {
    /// A key, or another size of the terminal.
    Terminal(ratatui::crossterm::event::Event),
    Beat(Box<Beat>),
    /// The server does not answer, and why.
    Lost(String),
    Looked(Look),
    /// A look at a relation failed.
    NotLooked(u32, String),
    Health(u32, Result<Health, String>),
    Recall(u32, Result<Recall, String>),
}

/// What is asked every second.
#[derive(Debug)]
pub struct Beat {
    pub server: Server,
    pub clock: String,
    pub counters: Counters,
    pub indexes: Vec<Index>,
    pub tasks: Vec<Task>,
    pub searches: Vec<Search>,
}

/// What all threads need.
#[derive(Clone)]
pub struct Link {
    pub config: Config,
    pub events: Sender<Event>,
}

/// What is asked in one beat.
fn beat(client: &mut Client) -> queries::Result<Beat> {
    // Asked each time: the extension may be created, dropped or updated meanwhile.
    let mut server = queries::server(client)?;
    let mut counters = queries::counters(client, &server)?;
    let indexes = queries::indexes(client, &server)?;
    if indexes.iter().any(|index| !index.latency.is_empty()) {
        server.latency_bounds = queries::latency_bounds(client, &server)?;
    }
    counters.searches = Some(indexes.iter().map(|index| index.searches).sum());
    counters.pages_hit = Some(indexes.iter().map(|index| index.pages_hit).sum());
    counters.pages_read = Some(indexes.iter().map(|index| index.pages_read).sum());
    let inserts: Option<i64> = indexes.iter().map(|index| index.inserts).sum();
    counters.inserts = counters.inserts.zip(inserts).map(|(under_way, done)| under_way + done);
    let tasks = queries::tasks(client, &server)?;
    let searches = queries::searches(client)?;
    Ok(Beat { clock: queries::clock(client)?, server, counters, indexes, tasks, searches })
}

/// Asks what the server does, again and again.
pub fn follow_pulse(link: Link, interval: Duration) {
    thread::spawn(move || {
        let mut client = None;
        loop {
            let began = Instant::now();
            let asked = with(&mut client, &link.config, LIMIT_MS, beat);
            let event = match asked {
                Ok(beat) => Event::Beat(Box::new(beat)),
                // An error of a query is no reason to say that the server is away.
                Err(error) if client.as_ref().is_some_and(|client| !client.is_closed()) => {
                    Event::Lost(queries::said(&error))
                }
                Err(error) => Event::Lost(format!("server away: {}", queries::said(&error))),
            };
            if link.events.send(event).is_err() {
                return;
            }
            thread::sleep(interval.saturating_sub(began.elapsed()));
        }
    });
}

/// Asks by a session that is opened where there is none, or where it is lost.
fn with<T>(
    client: &mut Option<Client>,
    config: &Config,
    limit_ms: u64,
    ask: impl FnOnce(&mut Client) -> queries::Result<T>,
) -> queries::Result<T> {
    let open = match client {
        Some(open) if !open.is_closed() => open,
        _ => client.insert(queries::connect(config, limit_ms)?),
    };
    ask(open)
}

/// What the maps are to show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Views {
    pub server: Server,
    /// Relations, the part of each, and for how many cells there is room.
    pub views: Vec<(u32, Part, i64)>,
}

/// Where the views are told to the thread that looks.
#[derive(Default)]
pub struct Wanted {
    views: Mutex<Views>,
    changed: Condvar,
}

impl Wanted {
    /// Wants these views from now on.
    pub fn set(&self, views: Views) {
        let mut wanted = self.views.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if *wanted != views {
            *wanted = views;
            self.changed.notify_all();
        }
    }

    /// The views, once they are others than these or so much time has passed.
    fn wait(&self, known: &Views, pause: Duration) -> Views {
        let wanted = self.views.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let waited = self.changed.wait_timeout_while(wanted, pause, |wanted| wanted == known);
        waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0.clone()
    }
}

/// Looks at the maps that are wanted, again and again.
pub fn follow_maps(link: Link, wanted: Arc<Wanted>) {
    thread::spawn(move || {
        let mut client = None;
        let (mut views, mut pause) = (Views::default(), MAP_PAUSE);
        let mut sampled: Option<Instant> = None;
        loop {
            let now = wanted.wait(&views, pause);
            if now != views {
                (views, sampled) = (now, None);
            }
            let is_sampled = sampled.is_none_or(|then| then.elapsed() > SAMPLE_PAUSE.max(pause));
            let mut spent = Duration::ZERO;
            for &(oid, part, cells) in &views.views {
                let look =
                    |client: &mut Client| queries::look(client, &views.server, oid, part, cells, is_sampled);
                let began = Instant::now();
                let looked = with(&mut client, &link.config, LIMIT_MS, look);
                // Waiting for a lock costs the server nothing.
                if !looked.as_ref().is_err_and(queries::waited) {
                    spent += began.elapsed();
                }
                let event = match looked {
                    Ok(look) => Event::Looked(look),
                    Err(error) => Event::NotLooked(oid, queries::said(&error)),
                };
                if link.events.send(event).is_err() {
                    return;
                }
            }
            if is_sampled {
                sampled = Some(Instant::now());
            }
            pause = MAP_PAUSE.max(spent * MAP_PAUSE_BY_LOOK);
        }
    });
}

/// A question that is asked on demand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Question {
    Health,
    Recall,
}

/// What is asked on demand: the server as it is known, the index.
pub struct Request {
    pub question: Question,
    pub server: Server,
    pub oid: u32,
}

/// The statement under way that was asked on demand.
pub type Running = Arc<Mutex<Option<CancelToken>>>;

/// Cancels what was asked on demand.
pub fn cancel(running: &Running) {
    let token = running.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    if let Some(token) = token {
        // It opens a connection, which may take its time; whether it comes too late is not told.
        thread::spawn(move || token.cancel_query(NoTls));
    }
}

/// Answers questions one after the other, each in a session of its own, which must end within a limit.
pub fn answer(link: Link, requests: Receiver<Request>, running: Running, limit: Duration) {
    thread::spawn(move || {
        for Request { question, server, oid } in requests {
            let mut asked = None;
            let remember = |client: &mut Client| {
                *running.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) =
                    Some(client.cancel_token());
            };
            let limit_ms = limit.as_millis() as u64;
            let event = match question {
                Question::Health => {
                    let answer = with(&mut asked, &link.config, limit_ms, |client| {
                        remember(client);
                        queries::health(client, &server, oid)
                    });
                    Event::Health(oid, answer.map_err(|error| queries::said(&error)))
                }
                Question::Recall => {
                    let answer = with(&mut asked, &link.config, limit_ms, |client| {
                        remember(client);
                        queries::recall(client, &server, oid)
                    });
                    Event::Recall(oid, answer.map_err(|error| queries::said(&error)))
                }
            };
            *running.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
            if link.events.send(event).is_err() {
                return;
            }
        }
    });
}
