//! A dataset is a directory with a base file, a query file and, optionally, the exact neighbours
//! (`truth.npy`).
//!
//! Files are found by a word of their name: `base.i8.npy`, `base.npy` and `sift_base.fvecs` are all base
//! files. The id of a vector is its row.

mod fvecs;
mod made;
mod npy;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use half::f16;

pub use made::Made;
pub use npy::{read_ids, write_ids};

/// Vectors of one dimension by their row: held in memory, or made whenever they are asked for.
pub trait Rows: Sync {
    /// Dimensions of every vector.
    fn dimensions(&self) -> usize;
    /// Number of vectors.
    fn rows(&self) -> usize;
    /// One vector.
    fn row(&self, row: usize) -> Cow<'_, [f32]>;
}

/// Vectors of one dimension, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    dimensions: usize,
    elements: Vec<f32>,
}

impl Vectors {
    /// Takes `elements`, whose number must be a multiple of `dimensions`.
    pub fn new(dimensions: usize, elements: Vec<f32>) -> Result<Self> {
        ensure!(dimensions > 0, "vectors have no dimensions");
        ensure!(elements.len().is_multiple_of(dimensions), "the last vector is cut off");
        Ok(Self { dimensions, elements })
    }

    /// Dimensions of every vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Number of vectors.
    pub fn rows(&self) -> usize {
        self.elements.len() / self.dimensions
    }

    /// One vector.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.elements[row * self.dimensions..][..self.dimensions]
    }

    /// All vectors in order.
    pub fn iter(&self) -> std::slice::ChunksExact<'_, f32> {
        self.elements.chunks_exact(self.dimensions)
    }

    /// Rounds every element to what a 16-bit column keeps; tells whether that changed anything.
    fn round_to_f16(&mut self) -> bool {
        let mut changed = false;
        for element in &mut self.elements {
            let rounded = f16::from_f32(*element).to_f32();
            changed |= rounded != *element;
            *element = rounded;
        }
        changed
    }
}

impl Rows for Vectors {
    fn dimensions(&self) -> usize {
        self.dimensions()
    }

    fn rows(&self) -> usize {
        self.rows()
    }

    fn row(&self, row: usize) -> Cow<'_, [f32]> {
        Cow::Borrowed(self.row(row))
    }
}

/// Vectors to store, vectors to ask for, and where the exact answers are said to be.
#[derive(Clone, Debug)]
pub struct Dataset<B = Vectors> {
    /// Name of the directory.
    pub name: String,
    /// The vectors that are stored.
    pub base: B,
    /// The vectors that are asked for.
    pub queries: Vectors,
    /// Exact neighbours of these very vectors; nothing says of which metric.
    pub truth: Option<PathBuf>,
}

impl Dataset {
    /// Reads at most `base_limit` base and `query_limit` query vectors of `directory`.
    ///
    /// The exact answers in the directory are disregarded when fewer vectors are taken than there are.
    pub fn load(directory: &Path, base_limit: Option<usize>, query_limit: Option<usize>) -> Result<Self> {
        let (base, whole) = read(&find(directory, "base")?, base_limit)?;
        let (queries, _) = read(&find(directory, "query")?, query_limit)?;
        ensure!(
            base.dimensions() == queries.dimensions(),
            "base vectors have {} dimensions, query vectors {}",
            base.dimensions(),
            queries.dimensions()
        );
        let truth = directory.join("truth.npy");
        let directory = directory.canonicalize()?;
        let name = directory.file_name().map_or("dataset".into(), |name| name.to_string_lossy().into_owned());
        Ok(Self { name, base, queries, truth: (whole && truth.exists()).then_some(truth) })
    }

    /// Rounds all vectors to what a 16-bit column keeps, so that recall tells of the index and not of the
    /// rounding.
    pub fn round_to_f16(&mut self) {
        if self.base.round_to_f16() | self.queries.round_to_f16() {
            self.truth = None;
        }
    }
}

/// The one vector file in `directory` with `word` in its name.
fn find(directory: &Path, word: &str) -> Result<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("could not open dataset directory \"{}\"", directory.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_vectors = name.ends_with(".npy") || name.ends_with(".fvecs");
        if is_vectors && name.split(['.', '_', '-']).any(|part| part == word) {
            found.push(path);
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => bail!("no {word}*.npy or {word}*.fvecs in \"{}\"", directory.display()),
        _ => bail!("more than one {word} file in \"{}\"", directory.display()),
    }
}

/// At most `limit` vectors of a file, and whether those are all that it has.
fn read(path: &Path, limit: Option<usize>) -> Result<(Vectors, bool)> {
    let limit = limit.unwrap_or(usize::MAX);
    let format =
        if path.extension().is_some_and(|extension| extension == "npy") { npy::read } else { fvecs::read };
    let open = || -> Result<_> {
        let file = std::io::BufReader::new(std::fs::File::open(path)?);
        let (vectors, whole) = format(file, limit)?;
        ensure!(vectors.rows() > 0, "there are no vectors");
        Ok((vectors, whole))
    };
    open().with_context(|| format!("could not read \"{}\"", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_a_word_of_their_name() {
        let directory = std::env::temp_dir().join(format!("walia-bench-find-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for name in ["sift_base.fvecs", "query.f32.npy", "database.npy", "base.txt"] {
            std::fs::write(directory.join(name), b"").unwrap();
        }
        assert_eq!(find(&directory, "base").unwrap(), directory.join("sift_base.fvecs"));
        assert_eq!(find(&directory, "query").unwrap(), directory.join("query.f32.npy"));
        assert!(find(&directory, "learn").is_err());
        std::fs::write(directory.join("base.npy"), b"").unwrap();
        assert!(find(&directory, "base").is_err());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn rounding_tells_whether_it_changed_anything() {
        let mut exact = Vectors::new(2, vec![1.0, -127.0]).unwrap();
        assert!(!exact.round_to_f16());
        let mut inexact = Vectors::new(2, vec![1.0, 0.1]).unwrap();
        assert!(inexact.round_to_f16());
        assert!((inexact.row(0)[1] - 0.1).abs() < 1e-4);
    }
}
