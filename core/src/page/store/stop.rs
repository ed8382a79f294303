//! Stop points: the moments between two write units of an operation.

macro_rules! stop_points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)+) => {
        /// A moment between two write units of an operation: what another backend, a standby or a restart can
        /// see then is what ARCHITECTURE.md has a row for. Tests hold a backend up there, let others work, or
        /// end the server.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum StopPoint {
            $($(#[$doc])* $point,)+
        }

        impl StopPoint {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point),+];

            /// The name by which a test knows it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

stop_points! {
    /// The neighbours of a new node are known, nothing has been written.
    InsertChosen = "insert chosen",
    /// A node in several parts is PENDING.
    InsertPending = "insert pending",
    /// A payload tuple of it has been written.
    InsertPayloadWritten = "insert payload written",
    /// Its upper links have been written.
    InsertUpperWritten = "insert upper written",
    /// The node is complete.
    InsertPublished = "insert published",
    /// A neighbour leads back to it, or does not want to.
    InsertNeighbourLinked = "insert neighbour linked",
    /// All neighbours that want to do.
    InsertConfirmed = "insert confirmed",
    /// It is the entry point.
    InsertEntryPointSet = "insert entry point set",
    /// A heap TID has come to a node.
    InsertJoined = "insert joined",
    /// A heap TID has come to a tuple aside of which no hint tells.
    InsertAsideWritten = "insert aside written",
    /// A page of an index that nobody else sees yet has been written.
    BuildPageWritten = "build page written",
    /// A page of nodes of a batch has been written, which nothing leads to.
    BatchPageWritten = "batch page written",
    /// Lists on a page lead to nodes of a batch.
    BatchPageLinked = "batch page linked",
    /// A tombstone has been removed, what belonged to it has not.
    TombstoneRemoved = "tombstone removed",
    /// Kinds of rows without a distance are marked as clearing.
    VacuumClearing = "vacuum clearing",
    /// They are marked as absent or present.
    VacuumCleared = "vacuum cleared",
    /// A cycle has its number.
    VacuumBegun = "vacuum begun",
    /// Tombstones have been made on a page.
    VacuumPageCleaned = "vacuum page cleaned",
    /// Tombstones have been made on all pages.
    VacuumAllCleaned = "vacuum all cleaned",
    /// A list of links has been mended and its new neighbours do not know.
    ListMended = "list mended",
    /// All lists have been mended.
    VacuumAllMended = "vacuum all mended",
    /// The entry point is live.
    VacuumEntryPointReplaced = "vacuum entry point replaced",
    /// All live nodes can be reached.
    VacuumRelinked = "vacuum relinked",
    /// The cycle is marked repaired.
    VacuumFinished = "vacuum finished",
    /// Every list of the index is sound.
    RepairAllMended = "repair all mended",
    /// A list has been mended by a scan, which does not know whether its new neighbours have died.
    HealListMended = "heal list mended",
}
