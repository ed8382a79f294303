//! What is chosen for an index so that its nodes fill pages.

use walia_core::code::{Sample, code_size, rotated_dimensions};
use walia_core::page::format::layout::Layout;
use walia_core::page::format::slotted::{MAX_TUPLE_SIZE, PageKind};
use walia_core::page::{Meta, Page, Quantization, Storage, Wishes, fit, fit_to_sample, max_level};
use walia_core::types::{ElementType, Metric, Parameters, PayloadEncoding};

use ElementType::{F16, F32};
use Quantization::{Auto, Bits, None as NoCodes};

const COLUMN: Storage = Storage::Encoding(PayloadEncoding::Column);
const SQ8: Storage = Storage::Encoding(PayloadEncoding::Sq8);

/// What became of an index's wishes.
#[derive(Debug, PartialEq)]
struct Fitted {
    bits: u8,
    code_dimensions: u16,
    m0: u16,
    payload: PayloadEncoding,
    nodes_per_page: usize,
    payload_parts: usize,
}

fn fitted(
    (dimensions, element): (usize, ElementType),
    m: u16,
    quantization: Quantization,
    storage: Storage,
) -> Fitted {
    let parameters = fit(Wishes {
        dimensions,
        element,
        metric: Metric::L2,
        m,
        ef_construction: 200,
        quantization,
        storage,
    });
    let layout = Layout::of_new(&parameters).unwrap();
    let Parameters { code_bits: bits, code_dimensions, m0, payload, .. } = parameters;
    let (nodes_per_page, payload_parts) =
        (layout.nodes_per_page(), layout.payload_parts(layout.payload_size).count());
    Fitted { bits, code_dimensions, m0, payload, nodes_per_page, payload_parts }
}

/// The sums that the format was designed by.
#[test]
fn nodes_fill_pages() {
    let (column, f16, sq8) = (PayloadEncoding::Column, PayloadEncoding::F16, PayloadEncoding::Sq8);
    for (
        vector,
        m,
        quantization,
        storage,
        (bits, code_dimensions, m0, payload, nodes_per_page, payload_parts),
    ) in [
        ((3, F32), 16, Auto, Storage::Auto, (0, 0, 32, column, 25, 0)),
        ((64, F32), 16, Auto, Storage::Auto, (4, 64, 24, f16, 6, 0)),
        ((100, F32), 16, Auto, Storage::Auto, (2, 100, 24, f16, 6, 0)),
        ((128, F32), 16, Auto, Storage::Auto, (2, 128, 27, f16, 5, 0)),
        // Three nodes on a page need binary16.
        ((384, F32), 16, Auto, Storage::Auto, (1, 384, 29, f16, 3, 0)),
        ((384, F32), 16, Auto, COLUMN, (1, 384, 32, column, 2, 0)),
        ((384, F32), 16, Auto, SQ8, (1, 384, 24, sq8, 4, 0)),
        ((384, F16), 16, Auto, Storage::Auto, (1, 384, 29, column, 3, 0)),
        ((384, F32), 16, NoCodes, Storage::Auto, (0, 0, 32, column, 4, 0)),
        ((384, F32), 100, Auto, Storage::Auto, (1, 256, 152, f16, 1, 0)),
        ((768, F32), 16, Auto, Storage::Auto, (1, 768, 32, column, 1, 0)),
        ((1536, F32), 16, Auto, Storage::Auto, (1, 1536, 24, f16, 1, 0)),
        ((1536, F32), 16, Auto, COLUMN, (1, 1536, 32, column, 1, 1)),
        ((1536, F32), 16, Bits(4), Storage::Auto, (4, 576, 25, f16, 1, 1)),
        // Codes are cut, and payloads lie on pages of their own.
        ((3072, F32), 16, Auto, Storage::Auto, (1, 2432, 24, f16, 1, 1)),
        ((4096, F32), 16, Auto, Storage::Auto, (1, 2432, 24, f16, 1, 2)),
        ((16000, F32), 16, Auto, Storage::Auto, (1, 2432, 24, f16, 1, 4)),
        ((16000, F32), 16, NoCodes, COLUMN, (0, 0, 32, column, 26, 8)),
    ] {
        let expected = Fitted { bits, code_dimensions, m0, payload, nodes_per_page, payload_parts };
        assert_eq!(
            fitted(vector, m, quantization, storage),
            expected,
            "{vector:?} {m} {quantization:?} {storage:?}"
        );
    }
}

/// All that a user may ask for can be had: every layout is valid, reads back, and keeps what was asked for.
#[test]
fn every_wish_fits() {
    let dimensions =
        (1..=40).chain((41..=2500).step_by(97)).chain((2501..=16000).step_by(1489)).chain([16000]);
    for dimensions in dimensions {
        for m in [2, 3, 7, 16, 17, 33, 64, 100] {
            for (element, quantization) in [F32, F16]
                .into_iter()
                .flat_map(|element| [Auto, NoCodes, Bits(1), Bits(2), Bits(4)].map(|bits| (element, bits)))
            {
                for storage in [Storage::Auto, COLUMN, Storage::Encoding(PayloadEncoding::F16), SQ8] {
                    let parameters = fit(Wishes {
                        dimensions,
                        element,
                        metric: Metric::Cosine,
                        m,
                        ef_construction: 200,
                        quantization,
                        storage,
                    });
                    let what = || format!("{parameters:?} for {quantization:?} {storage:?}");
                    let meta = Meta::new(&parameters);
                    let mut page = Page::ZERO;
                    page.initialize(PageKind::Meta);
                    meta.write(&mut page);
                    assert_eq!(Meta::of_page(&page).map(|read| read == meta), Ok(true), "{}", what());

                    let layout = meta.layout().unwrap();
                    assert!(max_level(&parameters).unwrap() >= 1, "{}", what());
                    assert!(
                        layout.upper_size(max_level(&parameters).unwrap()) <= MAX_TUPLE_SIZE,
                        "{}",
                        what()
                    );
                    assert!((m + m / 2..=2 * m).contains(&parameters.m0), "{}", what());
                    let Parameters { code_bits, code_dimensions, payload, .. } = parameters;
                    match quantization {
                        Auto => assert_eq!(code_bits > 0, dimensions >= 16, "{}", what()),
                        NoCodes => assert_eq!((code_bits, parameters.m0), (0, 2 * m), "{}", what()),
                        Bits(bits) => assert_eq!(code_bits, bits, "{}", what()),
                    }
                    if let Storage::Encoding(encoding) = storage {
                        assert_eq!(payload, encoding, "{}", what());
                    }
                    let all = rotated_dimensions(dimensions);
                    let whole = usize::from(code_dimensions) == all;
                    assert!(code_bits == 0 || whole || code_dimensions >= 64, "{}", what());
                    if code_bits > 0 && !whole {
                        // As much as fits: with one step more the links alone would not.
                        let more = code_size(code_bits, usize::from(code_dimensions) + 64);
                        let links = usize::from(parameters.m + m / 2) * (8 + more);
                        assert!(links + more + 8 + 28 + 6 + 16 > MAX_TUPLE_SIZE, "{}", what());
                    }
                }
            }
        }
    }
}

/// What binary16 may lose depends on where the column's own precision would put the vectors.
#[test]
fn vectors_that_lie_together_keep_their_precision() {
    for (dimensions, middle, payload) in [
        (128, 100.0, PayloadEncoding::F16),
        (128, 1000.0, PayloadEncoding::Column),
        (1536, 1000.0, PayloadEncoding::F16),
        (1536, 10_000.0, PayloadEncoding::Column),
    ] {
        let wishes = Wishes {
            dimensions,
            element: ElementType::F32,
            metric: Metric::L2,
            m: 16,
            ef_construction: 100,
            quantization: Quantization::Auto,
            storage: Storage::Auto,
        };
        let mut sample = Sample::new(&fit(wishes));
        for row in 0..50 {
            let elements =
                (0..dimensions).map(|i| middle + ((row * 7919 + i * 104_729) % 1009) as f32 / 300.0);
            sample.add(&elements.flat_map(f32::to_le_bytes).collect::<Vec<u8>>());
        }
        assert_eq!(fit_to_sample(wishes, &sample).payload, payload, "{dimensions}, {middle}");
        let asked = Wishes { storage: Storage::Encoding(PayloadEncoding::F16), ..wishes };
        assert_eq!(fit_to_sample(asked, &sample).payload, PayloadEncoding::F16);
    }
}
