//! What the planner asks of the casts that enforce a number of dimensions: whether they can be left out.

use pgrx::pg_sys::Datum;
use pgrx::{pg_guard, pg_sys};

use crate::error_context::enter;
use crate::nodes::NodeRef;

/// The extension whose types have the layout of walia's, and the same type modifiers.
const PGVECTOR: &[u8] = b"vector";

/// Tells Postgres how to call the function.
#[unsafe(no_mangle)]
extern "C" fn pg_finfo_walia_coercion_support() -> &'static pg_sys::Pg_finfo_record {
    &pg_sys::Pg_finfo_record { api_version: 1 }
}

/// `walia_coercion_support(internal) RETURNS internal`: the support function of `vecf32(vecf32, integer, boolean)`
/// and its like. ALTER TABLE rewrites no table for a cast that it leaves out.
///
/// # Safety
/// Only Postgres calls it.
#[unsafe(no_mangle)]
#[pg_guard]
unsafe extern "C-unwind" fn walia_coercion_support(call: pg_sys::FunctionCallInfo) -> Datum {
    enter!();
    // SAFETY: a request, which is a node and outlives the call.
    let request = unsafe {
        let request = pgrx::fcinfo::pg_getarg_datum_raw(call, 0).cast_mut_ptr();
        NodeRef::<pg_sys::Node>::new(request)
    };
    let request = request.downcast::<pg_sys::SupportRequestSimplify>();
    match request.and_then(|request| simplified(request.fcall())) {
        Some(expression) => Datum::from(expression.as_ptr()),
        None => Datum::from(0),
    }
}

/// The value of a cast's argument, where that has as many dimensions as the cast demands.
fn simplified<'p>(cast: NodeRef<'p, pg_sys::FuncExpr>) -> Option<NodeRef<'p, pg_sys::Node>> {
    let (value, wanted) = (cast.args().get(0)?, cast.args().get(1)?.downcast::<pg_sys::Const>()?);
    let wanted = (!wanted.constisnull).then(|| wanted.constvalue.value() as i32)?;
    (dimensions(value) == Some(wanted)).then(|| {
        // SAFETY: an expression of the planner's.
        unsafe { NodeRef::new(pg_sys::relabel_to_typmod(value.as_ptr(), wanted)) }
    })
}

/// The number of dimensions that an expression's values have by its type.
fn dimensions(value: NodeRef<pg_sys::Node>) -> Option<i32> {
    let (_, known) = base_type(value);
    known.or_else(|| {
        // Postgres does not know that the modifier means the same on both sides.
        let (inner, known) = base_type(value.downcast::<pg_sys::RelabelType>()?.arg().as_node());
        known.filter(|_| is_of_pgvector(inner))
    })
}

/// The type of an expression, or the one that its domain is over, and the type modifier.
fn base_type(value: NodeRef<pg_sys::Node>) -> (pg_sys::Oid, Option<i32>) {
    // SAFETY: an expression of the planner's; its type exists.
    unsafe {
        let mut modifier = pg_sys::exprTypmod(value.as_ptr());
        let base = pg_sys::getBaseTypeAndTypmod(pg_sys::exprType(value.as_ptr()), &mut modifier);
        (base, (modifier >= 0).then_some(modifier))
    }
}

/// Whether a type is one of pgvector's.
fn is_of_pgvector(type_oid: pg_sys::Oid) -> bool {
    // SAFETY: looks catalogs up, in a transaction. The name is a C string or null.
    unsafe {
        let extension = pg_sys::getExtensionOfObject(pg_sys::TypeRelationId, type_oid);
        let name = pg_sys::get_extension_name(extension);
        !name.is_null() && std::ffi::CStr::from_ptr(name).to_bytes() == PGVECTOR
    }
}
