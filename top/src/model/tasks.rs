//! What is under way: builds, vacuums and imports, how far each is, and how long it will take.

use std::collections::VecDeque;

/// Seconds of which the pace is taken.
const PACE_SECONDS: f64 = 30.0;
/// Before so many, it is too early to tell.
const LEAST_SECONDS: f64 = 2.0;

/// A command that reports its progress.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    pub pid: i32,
    /// `CREATE INDEX`, `VACUUM`, `COPY FROM` and the like.
    pub command: String,
    pub relation: String,
    pub phase: String,
    /// Of this phase, in rows, pages or bytes.
    pub done: i64,
    /// 0 where it is not known.
    pub total: i64,
    /// Since the statement began.
    pub seconds: f64,
    /// What is counted: `rows`, `pages`, `bytes`, `indexes`.
    pub unit: String,
}

impl Task {
    /// The share of this phase that is done, if that is known.
    pub fn share(&self) -> Option<f64> {
        (self.total > 0).then(|| (self.done as f64 / self.total as f64).clamp(0.0, 1.0))
    }
}

/// A task, and what was seen of its phase before: times and what was done.
#[derive(Debug)]
struct Followed {
    task: Task,
    seen: VecDeque<(f64, i64)>,
}

/// The tasks under way.
#[derive(Debug, Default)]
pub struct Tasks(Vec<Followed>);

impl Tasks {
    /// Takes what is under way at a moment of the server's clock.
    pub fn update(&mut self, at: f64, tasks: Vec<Task>) {
        let mut before = std::mem::take(&mut self.0);
        for task in tasks {
            let same = |followed: &Followed| {
                let known = &followed.task;
                (known.pid, &known.command, &known.relation, &known.phase, &known.unit)
                    == (task.pid, &task.command, &task.relation, &task.phase, &task.unit)
                    // The same phase again, as of a second pass over the indexes.
                    && known.done <= task.done
            };
            let mut seen = match before.iter().position(same) {
                Some(place) => before.swap_remove(place).seen,
                None => VecDeque::new(),
            };
            seen.push_back((at, task.done));
            while seen.front().is_some_and(|(then, _)| at - then > PACE_SECONDS) {
                seen.pop_front();
            }
            self.0.push(Followed { task, seen });
        }
    }

    /// The tasks, and of each the seconds that are left of its phase, as far as can be told.
    pub fn iter(&self) -> impl Iterator<Item = (&Task, Option<f64>)> {
        self.0.iter().map(|followed| (&followed.task, followed.remaining()))
    }
}

impl Followed {
    /// The amount a second of the last half minute.
    fn pace(&self) -> Option<f64> {
        let ((then, before), (now, done)) = (self.seen.front()?, self.seen.back()?);
        (now - then >= LEAST_SECONDS).then(|| (done - before) as f64 / (now - then))
    }

    fn remaining(&self) -> Option<f64> {
        let left = self.task.total - self.task.done;
        let pace = self.pace().filter(|pace| *pace > 0.0)?;
        (left >= 0 && self.task.total > 0).then(|| left as f64 / pace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(phase: &str, done: i64, total: i64) -> Task {
        Task {
            pid: 7,
            command: "CREATE INDEX".into(),
            relation: "item".into(),
            phase: phase.into(),
            done,
            total,
            seconds: 1.0,
            unit: "rows".into(),
        }
    }

    fn remaining(tasks: &Tasks) -> Option<f64> {
        tasks.iter().next().unwrap().1
    }

    #[test]
    fn the_rest_takes_as_long_as_the_pace_says() {
        let mut tasks = Tasks::default();
        tasks.update(100.0, vec![build("building graph", 1000, 4000)]);
        assert_eq!(remaining(&tasks), None);
        tasks.update(104.0, vec![build("building graph", 2000, 4000)]);
        assert_eq!(remaining(&tasks), Some(8.0));
        // What was long ago does not count.
        tasks.update(134.0, vec![build("building graph", 2300, 4000)]);
        assert_eq!(remaining(&tasks), Some(1700.0 / (300.0 / 30.0)));
    }

    #[test]
    fn a_phase_begins_anew() {
        let mut tasks = Tasks::default();
        tasks.update(100.0, vec![build("building graph", 1000, 4000)]);
        tasks.update(104.0, vec![build("writing pages", 10, 100)]);
        assert_eq!(remaining(&tasks), None);
        tasks.update(108.0, vec![build("writing pages", 5, 100)]);
        assert_eq!(remaining(&tasks), None);
        tasks.update(111.0, vec![build("writing pages", 5, 100)]);
        assert_eq!(remaining(&tasks), None);
        tasks.update(120.0, vec![]);
        assert_eq!(tasks.iter().count(), 0);
    }

    #[test]
    fn shares_stay_between_nothing_and_all() {
        assert_eq!(build("", 5, 0).share(), None);
        assert_eq!(build("", 5, 10).share(), Some(0.5));
        assert_eq!(build("", 15, 10).share(), Some(1.0));
    }
}
