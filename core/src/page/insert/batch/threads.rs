//! Work of threads beside that of the caller's own.

use rayon::ThreadPool;

/// Shares of the work for each thread.
const SHARES: usize = 4;

/// The threads of a pool. The caller's is none of them.
#[derive(Clone, Copy)]
pub(super) struct Threads<'p>(pub &'p ThreadPool);

impl Threads<'_> {
    /// Does `work` on each item in the threads and `own` in the caller's, which may unwind. Returns what has
    /// become of the items, in their order, and of `own`.
    pub fn beside<Item: Send, Done: Send, Own>(
        self,
        items: Vec<Item>,
        work: impl Fn(Item) -> Done + Sync,
        own: impl FnOnce() -> Own,
    ) -> (Vec<Done>, Own) {
        // Small shares, as the caller's thread takes its time of the processors too.
        let share = items.len().div_ceil(SHARES * self.0.current_num_threads()).max(1);
        let mut items: Vec<_> = items.into_iter().map(|item| (Some(item), None)).collect();
        let own = self.0.in_place_scope(|scope| {
            for items in items.chunks_mut(share) {
                let work = &work;
                scope.spawn(move |_| {
                    for (item, done) in items {
                        *done = item.take().map(work);
                    }
                });
            }
            own()
        });
        (items.into_iter().filter_map(|(_, done)| done).collect(), own)
    }
}
