//! The C functions that the install script names: `vecf32_add` and `vecf16_add` are the same
//! `arithmetic::add`.
//!
//! Each is declared STRICT in `sql/`, with the argument types that its line here asks for.

use half::f16;
use pgrx::pg_sys::Datum;
use pgrx::{pg_guard, pg_sys};
use walia_core::types::{ElementType, Metric};

use crate::error_context::enter;

use super::call::Call;
use super::{aggregates, arithmetic, binary, casts, code, coercion, distances, text, validate};

/// A function that Postgres can call.
pub type CFunction = unsafe extern "C-unwind" fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum;

/// Exports `name` as the C function `TYPE_name` (with the record that tells Postgres its calling convention).
macro_rules! export {
    ($type:ident, $($name:ident($call:ident) => $result:expr;)*) => { $(
        const _: () = {
            #[unsafe(export_name = concat!("pg_finfo_", stringify!($type), "_", stringify!($name)))]
            extern "C" fn info() -> &'static pg_sys::Pg_finfo_record {
                &pg_sys::Pg_finfo_record { api_version: 1 }
            }
        };

        #[doc = concat!("`", stringify!($type), "_", stringify!($name), "`.")]
        ///
        /// # Safety
        /// Only Postgres calls it, as the install script declares it.
        #[unsafe(export_name = concat!(stringify!($type), "_", stringify!($name)))]
        #[pg_guard]
        pub unsafe extern "C-unwind" fn $name(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
            enter!();
            // SAFETY: by the caller's promise.
            let $call = unsafe { Call::new(call) };
            let result = $result;
            $call.result(result)
        }
    )* };
}

macro_rules! export_type {
    ($type:ident, $element:ty, $other:ty) => {
        #[doc = concat!("The functions of `", stringify!($type), "`.")]
        pub mod $type {
            use super::*;

            export! { $type,
                input(call) => text::parse::<$element>(call.text(0), call.int(2));
                output(call) => text::print::<$element>(&call.vector(0));
                receive(call) => binary::receive::<$element>(call.message(0), call.int(2));
                send(call) => binary::send::<$element>(&call.vector(0));
                typmod_in(call) => validate::check_modifier::<$element>(call.modifiers(0));

                coerce(call) => validate::check_expected(call.int(1), call.vector::<$element>(0).len())
                    .map(|()| call.datum(0));
                from_array(call) => casts::from_array::<$element>(&call.array(0), call.int(1));
                to_float4(call) => casts::to_array::<$element>(&call.vector(0));
                convert(call) => casts::convert::<$element, $other>(&call.vector(0), call.int(1));

                add(call) => arithmetic::add::<$element>(&call.vector(0), &call.vector(1));
                sub(call) => arithmetic::subtract::<$element>(&call.vector(0), &call.vector(1));
                mul(call) => arithmetic::multiply::<$element>(&call.vector(0), &call.vector(1));
                concat(call) => arithmetic::concat::<$element>(&call.vector(0), &call.vector(1));

                lt(call) => arithmetic::compare::<$element>(&call.vector(0), &call.vector(1)).is_lt();
                le(call) => arithmetic::compare::<$element>(&call.vector(0), &call.vector(1)).is_le();
                eq(call) => arithmetic::compare::<$element>(&call.vector(0), &call.vector(1)).is_eq();
                ne(call) => arithmetic::compare::<$element>(&call.vector(0), &call.vector(1)).is_ne();
                ge(call) => arithmetic::compare::<$element>(&call.vector(0), &call.vector(1)).is_ge();
                gt(call) => arithmetic::compare::<$element>(&call.vector(0), &call.vector(1)).is_gt();
                cmp(call) => arithmetic::compare::<$element>(&call.vector(0), &call.vector(1)) as i32;

                l2_distance(call) => distances::l2::<$element>(&call.vector(0), &call.vector(1));
                inner_product(call) => distances::inner_product::<$element>(&call.vector(0), &call.vector(1));
                negative_inner_product(call) =>
                    distances::negative_inner_product::<$element>(&call.vector(0), &call.vector(1));
                cosine_distance(call) => distances::cosine::<$element>(&call.vector(0), &call.vector(1));
                l1_distance(call) => distances::l1::<$element>(&call.vector(0), &call.vector(1));

                dims(call) => call.vector::<$element>(0).len() as i32;
                norm(call) => arithmetic::norm::<$element>(&call.vector(0));
                l2_normalize(call) => arithmetic::normalize::<$element>(&call.vector(0));
                subvector(call) => arithmetic::subvector::<$element>(&call.vector(0), call.int(1), call.int(2));
                code(call) => code::of_vector::<$element>(&call.vector(0), call.int(1));
                binary_quantize(call) => arithmetic::binary_quantize::<$element>(&call.vector(0));

                accum(call) => call
                    .transition_state(concat!(stringify!($type), "_accum"))
                    .and_then(|state| aggregates::accumulate::<$element>(state, &call.vector(1)));
                combine(call) => call.transition_state(concat!(stringify!($type), "_combine")).and_then(|a| {
                    let b = call.state(1, concat!(stringify!($type), "_combine"))?;
                    aggregates::combine::<$element>(a, &b)
                });
                avg(call) => call
                    .state(0, concat!(stringify!($type), "_avg"))
                    .and_then(|state| aggregates::average::<$element>(&state));
            }
        }
    };
}

/// The functions of `veccode`.
pub mod veccode {
    use super::*;

    export! { veccode,
        input(call) => code::parse(call.text(0));
        output(call) => code::print(&call.bytes(0));
        receive(call) => code::receive(call.message(0));
        send(call) => code::send(&call.bytes(0));

        lt(call) => call.bytes(0)[..] < call.bytes(1)[..];
        le(call) => call.bytes(0)[..] <= call.bytes(1)[..];
        eq(call) => call.bytes(0)[..] == call.bytes(1)[..];
        ne(call) => call.bytes(0)[..] != call.bytes(1)[..];
        ge(call) => call.bytes(0)[..] >= call.bytes(1)[..];
        gt(call) => call.bytes(0)[..] > call.bytes(1)[..];
        cmp(call) => call.bytes(0).cmp(&call.bytes(1)[..]) as i32;
    }
}

/// Distances of Postgres's `bit`.
pub mod bit {
    use super::*;

    export! { bit,
        hamming_distance(call) => distances::bits(Metric::Hamming, [0, 1].map(|at| call.raw(at, ElementType::Bit)));
        jaccard_distance(call) => distances::bits(Metric::Jaccard, [0, 1].map(|at| call.raw(at, ElementType::Bit)));
    }
}

/// Distances of pgvector's `sparsevec`, whose own functions have the names without `walia`.
pub mod walia_sparsevec {
    use super::*;

    export! { walia_sparsevec,
        l2_distance(call) => distances::sparse(Metric::L2, [0, 1].map(|at| call.raw(at, ElementType::Sparse)));
        negative_inner_product(call) =>
            distances::sparse(Metric::InnerProduct, [0, 1].map(|at| call.raw(at, ElementType::Sparse)));
        cosine_distance(call) =>
            distances::sparse(Metric::Cosine, [0, 1].map(|at| call.raw(at, ElementType::Sparse)));
        l1_distance(call) => distances::sparse(Metric::L1, [0, 1].map(|at| call.raw(at, ElementType::Sparse)));
    }
}

/// The planner's support functions.
///
/// `support` is that of the distances. There is nothing to say of them; but asking, before the planner looks
/// for ways to a table's rows, loads the library, whose hooks know one more way.
pub mod walia {
    use super::*;

    export! { walia,
        support(_call) => Datum::null();
        // SAFETY: SQL declares it as a support function, which only the planner calls.
        coercion_support(call) => unsafe { coercion::answer(call.datum(0)) };
    }
}

export_type!(vecf32, f32, f16);
export_type!(vecf16, f16, f32);
