//! The last searches: statements of other sessions that order by a distance, as Postgres shows them.

/// Searches that are kept.
const KEPT: usize = 200;

/// What became of a statement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    Running,
    Ended,
    /// It ran when it was last seen, and its session has begun another one since, or is gone.
    Unknown,
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    pub pid: i32,
    pub role: String,
    /// The server's clock, in seconds.
    pub started: f64,
    pub milliseconds: f64,
    pub state: State,
    /// What it waits for; empty if for nothing.
    pub wait: String,
    pub text: String,
}

/// The newest searches that were seen, the newest first.
#[derive(Debug, Default)]
pub struct Searches(Vec<Search>);

impl Searches {
    /// Takes what sessions do now, or did last.
    pub fn add(&mut self, seen: Vec<Search>) {
        for kept in self.0.iter_mut().filter(|kept| kept.state == State::Running) {
            kept.state = State::Unknown;
        }
        for search in seen {
            match self.0.iter_mut().find(|kept| (kept.pid, kept.started) == (search.pid, search.started)) {
                Some(kept) => *kept = search,
                None => self.0.push(search),
            }
        }
        self.0.sort_by(|a, b| b.started.total_cmp(&a.started));
        self.0.truncate(KEPT);
    }

    pub fn newest_first(&self) -> &[Search] {
        &self.0
    }

    /// Times of those that began since, and have ended.
    pub fn times_since(&self, started: f64) -> impl Iterator<Item = f64> {
        let ended =
            self.0.iter().filter(move |search| search.state == State::Ended && search.started >= started);
        ended.map(|search| search.milliseconds)
    }
}

/// A statement on one line, with its vectors cut.
pub fn shortened(text: &str) -> String {
    let mut short = String::new();
    let mut vector = None;
    for character in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match (character, vector) {
            ('[', None) => vector = Some(0),
            (']', Some(_)) => {
                short.push_str("[…]");
                vector = None;
            }
            (_, Some(length)) => vector = Some(length + 1),
            (character, None) => short.push(if character.is_control() { ' ' } else { character }),
        }
    }
    // Postgres cuts what is too long.
    if vector.is_some() {
        short.push_str("[…");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::State::*;
    use super::*;

    fn search(pid: i32, started: f64, milliseconds: f64, state: State) -> Search {
        let (role, wait, text) = ("me".into(), String::new(), String::new());
        Search { pid, role, started, milliseconds, state, wait, text }
    }

    #[test]
    fn a_search_is_there_once() {
        let mut searches = Searches::default();
        searches.add(vec![
            search(1, 10.0, 5.0, Running),
            search(2, 11.0, 1.0, Ended),
            search(3, 11.5, 9.0, Running),
        ]);
        searches.add(vec![search(1, 10.0, 8.0, Ended), search(2, 12.0, 2.0, Ended)]);
        let seen: Vec<_> =
            searches.newest_first().iter().map(|search| (search.pid, search.milliseconds)).collect();
        assert_eq!(seen, [(2, 2.0), (3, 9.0), (2, 1.0), (1, 8.0)]);
        assert_eq!(searches.times_since(11.0).collect::<Vec<_>>(), [2.0, 1.0]);
        assert_eq!(searches.newest_first()[1].state, Unknown);
        searches.add((0..KEPT as i32).map(|pid| search(pid, 20.0, 1.0, Ended)).collect());
        assert_eq!(searches.newest_first().len(), KEPT);
    }

    #[test]
    fn vectors_are_cut() {
        assert_eq!(
            shortened("SELECT id\n  FROM t ORDER BY v <-> '[1,2, 3]' LIMIT 1"),
            "SELECT id FROM t ORDER BY v <-> '[…]' LIMIT 1"
        );
        assert_eq!(shortened("ORDER BY v <-> '[1,2"), "ORDER BY v <-> '[…");
    }
}
