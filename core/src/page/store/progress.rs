//! How far a check or a repair is.

macro_rules! phases {
    ($($(#[$doc:meta])* $phase:ident = $name:literal, $unit:literal;)+) => {
        /// A phase of a check, a repair, or a join of rows that waited.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Phase {
            $($(#[$doc])* $phase,)+
        }

        impl Phase {
            /// All of them; a phase's number is its place.
            pub const ALL: &[Self] = &[$(Self::$phase),+];

            /// What users call it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$phase => $name,)+
                }
            }

            /// What is counted in it.
            pub const fn unit(self) -> &'static str {
                match self {
                    $(Self::$phase => $unit,)+
                }
            }
        }
    };
}

phases! {
    /// The check reads all tuples.
    ReadingPages = "reading pages", "pages";
    /// It looks whose the tuples are that belong to nodes.
    CheckingTuples = "checking tuples", "nodes";
    /// It looks whether heap TIDs are there twice.
    CheckingRows = "checking heap TIDs", "rows";
    /// It reads the vectors.
    ReadingVectors = "reading vectors", "nodes";
    /// It looks where all links lead.
    CheckingLinks = "checking links", "nodes";
    /// It compares the index with its table.
    ComparingRows = "comparing with table", "rows";
    /// The repair does what VACUUM does to each page.
    CleaningPages = "cleaning pages", "pages";
    /// It replaces links to tombstones.
    MendingAroundTombstones = "mending links to tombstones", "pages";
    /// It looks at all links.
    MendingLinks = "mending links", "pages";
    /// Both follow links from the entry point.
    WalkingGraph = "walking graph", "nodes";
    /// The repair looks for nodes that were not reached, and links them.
    LinkingNodes = "linking unreached nodes", "pages";
    /// The join inserts rows one by one.
    InsertingRows = "inserting rows", "rows";
    /// It reads the nodes of the index.
    ReadingNodes = "reading nodes", "nodes";
    /// It inserts rows into a graph in memory.
    BuildingGraph = "building graph", "nodes";
    /// It brings that to the index.
    JoiningGraph = "joining graph", "nodes";
}
