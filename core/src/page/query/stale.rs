//! Links that lead nowhere, as a walk meets them.

use crate::types::Link;

/// Stale links that a scan remembers.
const STALE_LINKS: usize = 16;
/// Expanded nodes that a scan remembers, to look for those links in their lists.
const EXPANDED: usize = 512;

/// Stale links that a scan met on layer 0, and where to look for them.
#[derive(Default)]
pub(in crate::page) struct StaleLinks {
    /// The first of them.
    pub links: Vec<Link>,
    /// How many there were.
    pub count: u64,
    /// The nodes that were expanded first: those that lead there are among them, as far as they are known.
    pub walked: Vec<Link>,
}

impl StaleLinks {
    /// Remembers a link of `layer` that has turned out to be stale.
    pub fn note(&mut self, link: Link, layer: u8) {
        if layer == 0 {
            self.count += 1;
            if self.links.len() < STALE_LINKS {
                self.links.push(link);
            }
        }
    }

    /// Remembers a node of layer 0 that is expanded.
    pub fn note_walked(&mut self, node: Link) {
        if self.walked.len() < EXPANDED {
            self.walked.push(node);
        }
    }
}
