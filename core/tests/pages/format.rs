//! FORMAT.md, the structs, and stored pages say the same.

use crate::bounded::check;
use crate::graphs::{TestGraph, parameters};
use std::fmt::Write;
use std::mem::offset_of;
use walia_core::page::format::hints::Hints;
use walia_core::page::format::meta::Meta;
use walia_core::page::format::presence::Presence;
use walia_core::page::format::slotted::{Page, Special};
use walia_core::page::format::tuple::{AsideKind, NodeHeader, OwnedHeader};
use walia_core::page::vacuum::cleanup;
use walia_core::page::{Index, MemoryStore, Pages, statistics, write_graph};
use walia_core::page::{
    format::chain::{ParameterHeader, chain_pages},
    query::chain::read_chain,
};
use walia_core::types::{ElementType, Error, HeapTid, Link, Metric, Parameters, PayloadEncoding};

const FORMAT: &str = include_str!("../../../FORMAT.md");

/// The first table after `heading` whose columns are offset, size, field and meaning.
fn table(heading: &str) -> Vec<(usize, usize, String)> {
    let after = &FORMAT[FORMAT.find(heading).expect("a heading of FORMAT.md")..];
    let rows = after.lines().skip_while(|line| *line != "| offset | size | field | meaning |").skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.split('|').skip(1).map(str::trim);
            let mut number = || cells.next().unwrap().parse().unwrap();
            (number(), number(), cells.next().unwrap().to_owned())
        })
        .collect()
}

/// Asserts that a table of FORMAT.md lists the fields of a struct, all of its bytes, and nothing else.
macro_rules! assert_documented {
    ($heading:literal, $type:ty, $($field:ident)+) => {
        let sizes = |value: $type| [$(size_of_val(&value.$field)),+];
        let offsets = [$(offset_of!($type, $field)),+];
        let names = [$(stringify!($field)),+];
        let size = sizes(bytemuck::Zeroable::zeroed());
        let fields: Vec<_> =
            (0..names.len()).map(|field| (offsets[field], size[field], names[field].to_owned())).collect();
        assert_eq!(table($heading), fields);
        assert_eq!(size.iter().sum::<usize>(), size_of::<$type>());
    };
}

#[test]
fn tables_list_the_fields_of_the_structs() {
    assert_documented!("Link (`Link`)", Link, block slot version);
    assert_documented!("Special area (`Special`)", Special, version_counter kind reserved page_id);
    assert_documented!(
        "Contents (`Meta`)",
        Meta,
        magic format_version compatible_features incompatible_features dimensions m m0 ef_construction metric element
        payload_encoding code_bits code_dimensions code_length link_stride upper_link_stride inline_tids
        extension_length rotation_seed rotation_algorithm dimensions_high parameter_block parameter_length
        entry_generation entry_point entry_level undefined_presence null_presence cycle repaired_cycle
        reusable_cycle repaired_transaction
    );
    assert_documented!("Contents (`Hints`)", Hints, zero_vectors nulls);
    assert_documented!(
        "`ParameterHeader`",
        ParameterHeader,
        first_block next_block number length reserved
    );
    assert_documented!(
        "`NodeHeader`:",
        NodeHeader,
        kind flags version level tid_count extension_length cycle upper overflow
    );
    assert_documented!("They begin with `OwnedHeader`", OwnedHeader, kind level version count tag owner next);
}

/// Pages as text: for each its number, then a line for each 32 bytes that are not all zero.
fn to_text(pages: &[Page]) -> String {
    let mut text = String::new();
    for (block, page) in pages.iter().enumerate() {
        writeln!(text, "block {block}").unwrap();
        for (line, bytes) in page.0.chunks(32).enumerate() {
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                write!(text, "{:04x}", line * 32).unwrap();
                for word in bytes[..=last].chunks(4) {
                    text.push(' ');
                    word.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
                }
                text.push('\n');
            }
        }
    }
    text
}

/// The pages of a text.
fn from_text(text: &str) -> Vec<Page> {
    let mut pages = Vec::new();
    for line in text.lines() {
        if line.starts_with("block") {
            pages.push(Page::ZERO);
            continue;
        }
        let (offset, digits) = line.split_once(' ').unwrap();
        let offset = usize::from_str_radix(offset, 16).unwrap();
        let digits = digits.replace(' ', "");
        for (at, digits) in digits.as_bytes().chunks(2).enumerate() {
            let digits = std::str::from_utf8(digits).unwrap();
            pages.last_mut().unwrap().0[offset + at] = u8::from_str_radix(digits, 16).unwrap();
        }
    }
    pages
}

/// Compares pages with a file of golden bytes; with WALIA_WRITE_GOLDEN set, writes it instead.
fn assert_golden(name: &str, pages: &[Page]) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = to_text(pages);
    if std::env::var_os("WALIA_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, golden, "bytes differ from {path}: FORMAT.md says what a change of the format needs");
    let read_back = from_text(&golden);
    assert!(read_back.iter().zip(pages).all(|(read, written)| read.0 == written.0));
}

fn pages_of(store: &MemoryStore) -> Vec<Page> {
    (0..store.block_count().unwrap()).map(|block| *store.read(block).unwrap()).collect()
}

/// As [`assert_golden`], of an index that was written before there were marks of rows without a distance: all
/// else is the same.
fn assert_golden_but_for_marks(name: &str, mut pages: Vec<Page>) {
    let mut meta = Meta::of_page(&pages[0]).unwrap();
    (meta.compatible_features, meta.undefined_presence, meta.null_presence) = (0, 0, 0);
    meta.write(&mut pages[0]);
    assert_golden(name, &pages);
    // Such an index is read, and a vacuum finds out what it holds.
    let asides = statistics(&Index::open(MemoryStore::with_pages(pages.clone()), &()).unwrap()).unwrap();
    let index = Index::open(MemoryStore::with_pages(pages), &()).unwrap();
    let presence = |kind| Meta::read(&index.store).unwrap().presence(kind);
    assert_eq!(AsideKind::ALL.map(presence), [Presence::Unknown; 2]);
    assert!(cleanup(&index, 1 << 20).unwrap().is_some());
    let expected = [asides.zero_vectors, asides.nulls]
        .map(|rows| if rows > 0 { Presence::Present } else { Presence::Absent });
    assert_eq!(AsideKind::ALL.map(presence), expected);
    assert_eq!(check(&index).unwrap(), []);
}

/// An index with nodes of levels 0 to 2, more rows than fit a node, and rows outside of the graph.
#[test]
fn golden_bytes_with_payloads_in_nodes() {
    let nodes = [(0, 1), (1, 2), (0, 43), (2, 1)];
    let graph = TestGraph::new(parameters(3, ElementType::F32, 2), &nodes);
    let asides = [(AsideKind::Null, HeapTid::new(70_000, 1)), (AsideKind::ZeroVector, HeapTid::new(5, 6))];
    let store = MemoryStore::new();
    write_graph(&graph, &asides, &mut &store, &mut |_| ()).unwrap();
    assert_golden("version-1-marks.txt", &pages_of(&store));
    assert_golden_but_for_marks("version-1-inline.txt", pages_of(&store));
    assert_eq!(check(&Index::open(&store, &()).unwrap()).unwrap(), []);
}

/// Vectors of bits: the last byte is not full.
#[test]
fn golden_bytes_of_bits() {
    for (name, metric) in
        [("version-1-bits-hamming.txt", Metric::Hamming), ("version-1-bits-jaccard.txt", Metric::Jaccard)]
    {
        let parameters = Parameters { metric, ..parameters(503, ElementType::Bit, 2) };
        let store = TestGraph::new(parameters, &[(0, 1), (1, 2), (0, 1), (2, 1)]).store();
        assert_golden(name, &pages_of(&store));
        assert_eq!(check(&Index::open(&store, &()).unwrap()).unwrap(), []);
    }
}

/// Sparse vectors, with more dimensions than 16 bits tell: payloads are not of one length, and one is empty.
#[test]
fn golden_bytes_of_sparse_vectors() {
    let parameters = parameters(70_000, ElementType::Sparse, 2);
    let store = TestGraph::new(parameters, &[(0, 1), (1, 2), (0, 1), (2, 1)]).store();
    assert_golden("version-1-sparse.txt", &pages_of(&store));
    let index = Index::open(&store, &()).unwrap();
    assert_eq!(index.schema.layout.parameters, parameters);
    assert_eq!(check(&index).unwrap(), []);
}

/// An index whose payloads lie apart, in two parts each.
#[test]
fn golden_bytes_with_payloads_apart() {
    let graph = TestGraph::new(parameters(4100, ElementType::F16, 2), &[(0, 1), (1, 1)]);
    let store = graph.store();
    assert_golden_but_for_marks("version-1-apart.txt", pages_of(&store));
    assert_eq!(check(&Index::open(&store, &()).unwrap()).unwrap(), []);
}

/// Codes beside the links of all layers, and payloads with fewer bits than the column: all of a node in its
/// tuple.
#[test]
fn golden_bytes_with_codes() {
    let plain = Parameters::plain(20, ElementType::F32, Metric::Cosine, 2, 100);
    for (name, m0, code_bits, payload) in [
        ("version-1-codes-f16.txt", 3, 2, PayloadEncoding::F16),
        ("version-1-codes-sq8.txt", 4, 1, PayloadEncoding::Sq8),
    ] {
        let parameters = Parameters { m0, code_bits, code_dimensions: 20, payload, ..plain };
        let graph = TestGraph::new(parameters, &[(0, 1), (1, 2), (0, 1), (2, 1)]);
        let store = graph.store();
        assert_golden_but_for_marks(name, pages_of(&store));
        assert_eq!(check(&Index::open(&store, &()).unwrap()).unwrap(), []);
    }
}

/// Payloads apart, in two parts each; nodes keep their own codes, which are cut; upper layers have none.
#[test]
fn golden_bytes_with_codes_and_payloads_apart() {
    let plain = Parameters::plain(4100, ElementType::F32, Metric::L2, 16, 100);
    let payload = PayloadEncoding::F16;
    let parameters = Parameters { m0: 24, code_bits: 4, code_dimensions: 512, payload, ..plain };
    let meta = Meta::new(&parameters);
    assert_eq!((meta.link_stride, meta.upper_link_stride), (272, 8));
    let graph = TestGraph::new(parameters, &[(1, 1), (1, 1), (0, 1)]);
    let store = graph.store();
    assert_golden_but_for_marks("version-1-codes-apart.txt", pages_of(&store));
    assert_eq!(check(&Index::open(&store, &()).unwrap()).unwrap(), []);
}

#[test]
fn golden_bytes_of_parameter_pages() {
    let bytes: Vec<u8> = (0..8140).map(|at| if at % 1000 == 7 || at > 8130 { at as u8 } else { 0 }).collect();
    let pages: Vec<_> = chain_pages(&bytes, 0).collect();
    assert_golden("version-1-parameters.txt", &pages);
    let store = MemoryStore::with_pages(pages);
    assert_eq!(read_chain(&store, 0, bytes.len() as u32).unwrap(), bytes);
    // A length that does not fit the chain is corruption.
    for length in [8136, 8137, 8141, 20_000] {
        assert!(matches!(read_chain(&store, 0, length), Err(Error::Corrupt { .. })), "{length}");
    }
}

#[test]
fn other_formats_are_refused() {
    let open = |change: &dyn Fn(&mut Meta)| {
        let mut meta = Meta::new(&parameters(8, ElementType::F32, 16));
        change(&mut meta);
        let mut page = Page::ZERO;
        page.initialize(walia_core::page::format::slotted::PageKind::Meta);
        meta.write(&mut page);
        Index::open(MemoryStore::with_pages([page]), &()).map(|_| ())
    };
    assert_eq!(open(&|_| ()), Ok(()));
    assert_eq!(open(&|meta| meta.format_version = 2), Err(Error::Version { found: 2 }));
    assert_eq!(open(&|meta| meta.format_version = 0), Err(Error::Version { found: 0 }));
    assert_eq!(open(&|meta| meta.incompatible_features = 33), Err(Error::Features { unknown: 32 }));
    assert_eq!(open(&|meta| meta.compatible_features = 9), Ok(()));
    let bits = |meta: &mut Meta| {
        (meta.element, meta.metric, meta.incompatible_features) =
            (ElementType::Bit as u8, Metric::Hamming as u8, 8);
    };
    assert_eq!(open(&bits), Ok(()));
    let sparse = |meta: &mut Meta| {
        (meta.element, meta.incompatible_features) = (ElementType::Sparse as u8, 16);
    };
    let billion = |meta: &mut Meta| (meta.dimensions, meta.dimensions_high) = (0xca00, 0x3b9a);
    assert_eq!(open(&|meta| (sparse(meta), billion(meta)).0), Ok(()));
    // What other elements have in the place of these bits is not read.
    assert_eq!(open(&|meta| meta.dimensions_high = 1), Ok(()));
    let corrupt: [&dyn Fn(&mut Meta); 22] = [
        &|meta| meta.magic += 1,
        &|meta| meta.dimensions = 16001,
        &|meta| meta.dimensions = 0,
        &|meta| meta.m = 1,
        &|meta| meta.m0 = 1100,
        &|meta| meta.metric = 5,
        &|meta| meta.metric = 7,
        &|meta| meta.element = 0,
        &|meta| meta.payload_encoding = 3,
        &|meta| meta.link_stride = 4,
        &|meta| meta.inline_tids = 0,
        &|meta| meta.entry_level = 41,
        // Codes without the feature bit that makes older readers refuse them.
        &|meta| (meta.code_length, meta.link_stride, meta.upper_link_stride) = (16, 24, 24),
        // Bits without theirs, with a metric of numbers, with too many dimensions, and in another encoding.
        &|meta| (bits(meta), meta.incompatible_features = 0).0,
        &|meta| (bits(meta), meta.metric = Metric::L2 as u8).0,
        &|meta| (bits(meta), meta.dimensions = 64_001).0,
        &|meta| (bits(meta), (meta.payload_encoding, meta.incompatible_features) = (1, 10)).0,
        // Sparse vectors as bits above, and with codes.
        &|meta| (sparse(meta), meta.incompatible_features = 0).0,
        &|meta| (sparse(meta), meta.metric = Metric::Jaccard as u8).0,
        &|meta| (sparse(meta), billion(meta), meta.dimensions += 1).0,
        &|meta| (sparse(meta), (meta.payload_encoding, meta.incompatible_features) = (1, 18)).0,
        &|meta| {
            sparse(meta);
            (meta.code_bits, meta.code_dimensions, meta.code_length) = (1, 8, 12);
            (meta.link_stride, meta.upper_link_stride) = (20, 20);
            (meta.rotation_algorithm, meta.incompatible_features) = (1, 17);
        },
    ];
    for (number, change) in corrupt.into_iter().enumerate() {
        assert!(matches!(open(change), Err(Error::Corrupt { block: 0, .. })), "change {number}");
    }
}
