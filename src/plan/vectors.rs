//! The query vectors of a plan that workers execute: written once, not in each child.
//!
//! A plan goes to a worker as text, and each child has the vector some three times: where it orders, for EXPLAIN, and among its
//! columns. For 64 children and 384 dimensions that is a megabyte, which takes longer to write and read than to search their indexes. So
//! the children are planned with placeholders, which each process replaces when it begins to execute a child.
//!
//! A placeholder is an external parameter with a number that no query can have. Postgres looks external parameters up only
//! when they are evaluated, which these never are.

use std::ffi::{c_int, c_void};

use pgrx::{PgList, pg_guard, pg_sys};

use crate::error_context::enter;

/// The number of the first vector's placeholder; those of others are below.
const FIRST: c_int = c_int::MAX;

/// Takes the vectors by which scans of indexes order out of plans, and leaves placeholders where they are operands. What it returns is a
/// list of constants, for [`put_back`].
///
/// # Safety
/// The plans have just been made.
pub unsafe fn take_out(plans: *mut pg_sys::List) -> *mut pg_sys::List {
    let mut vectors = std::ptr::null_mut();
    // SAFETY: by the caller's promise; the tags say what plans and operands are.
    unsafe {
        for plan in PgList::<pg_sys::Plan>::from_pg(plans).iter_ptr() {
            let Some(scan) = index_scan(plan) else { continue };
            let orders = PgList::<pg_sys::OpExpr>::from_pg((*scan).indexorderby);
            for operand in orders.iter_ptr().filter_map(|order| operands(order.cast())?.get_ptr(1)) {
                if is_long_constant(operand) {
                    vectors = pg_sys::list_append_unique(vectors, operand.cast());
                }
            }
        }
        for plan in PgList::<pg_sys::Plan>::from_pg(plans).iter_ptr() {
            replace_all(plan, vectors, |operand, vectors| {
                let position =
                    vectors.iter_ptr().position(|vector| pg_sys::equal(vector.cast(), operand.cast()));
                position.map(|position| placeholder(vectors.get_ptr(position).expect("just seen"), position))
            });
        }
    }
    vectors
}

/// A copy of a plan that has been through [`take_out`], with the vectors in their places.
///
/// # Safety
/// `vectors` is what [`take_out`] returned, or a copy of it, and lives as long as the plan.
pub unsafe fn put_back(plan: *mut pg_sys::Plan, vectors: *mut pg_sys::List) -> *mut pg_sys::Plan {
    // SAFETY: by the caller's promise; the tag says what an operand is.
    unsafe {
        // Others may execute this plan later.
        let plan = pg_sys::copyObjectImpl(plan.cast()).cast();
        replace_all(plan, vectors, |operand, vectors| {
            let parameter = operand.cast::<pg_sys::Param>();
            let is_placeholder = (*operand).type_ == pg_sys::NodeTag::T_Param
                && (*parameter).paramkind == pg_sys::ParamKind::PARAM_EXTERN;
            let position = is_placeholder.then(|| (FIRST - (*parameter).paramid) as usize)?;
            vectors.get_ptr(position).map(|vector| vector.cast())
        });
        plan
    }
}

/// A plan as a scan of an index.
///
/// # Safety
/// It is a plan.
unsafe fn index_scan(plan: *mut pg_sys::Plan) -> Option<*mut pg_sys::IndexScan> {
    // SAFETY: by the caller's promise; the tag says what it is.
    unsafe { ((*plan).type_ == pg_sys::NodeTag::T_IndexScan).then_some(plan.cast()) }
}

/// The operands of an operator or a function.
///
/// # Safety
/// `expression` is one.
unsafe fn operands(expression: *mut pg_sys::Node) -> Option<PgList<pg_sys::Node>> {
    // SAFETY: by the caller's promise; the tag says what it is.
    let operands = unsafe {
        match (*expression).type_ {
            pg_sys::NodeTag::T_OpExpr => (*expression.cast::<pg_sys::OpExpr>()).args,
            pg_sys::NodeTag::T_FuncExpr => (*expression.cast::<pg_sys::FuncExpr>()).args,
            _ => return None,
        }
    };
    // SAFETY: a list of expressions.
    Some(unsafe { PgList::from_pg(operands) })
}

/// Whether an operand is a constant of a type without a fixed length.
///
/// # Safety
/// It is an expression.
unsafe fn is_long_constant(operand: *mut pg_sys::Node) -> bool {
    let constant = operand.cast::<pg_sys::Const>();
    // SAFETY: by the caller's promise; the tag says what it is.
    unsafe {
        (*operand).type_ == pg_sys::NodeTag::T_Const && !(*constant).constisnull && (*constant).constlen == -1
    }
}

/// What stands for a vector.
///
/// # Safety
/// The vector is a constant.
unsafe fn placeholder(vector: *mut pg_sys::Const, position: usize) -> *mut pg_sys::Node {
    // SAFETY: by the caller's promise; palloc0 gives an empty node.
    unsafe {
        let parameter = pg_sys::palloc0(size_of::<pg_sys::Param>()).cast::<pg_sys::Param>();
        (*parameter).xpr.type_ = pg_sys::NodeTag::T_Param;
        (*parameter).paramkind = pg_sys::ParamKind::PARAM_EXTERN;
        (*parameter).paramid = FIRST - position as c_int;
        (*parameter).paramtype = (*vector).consttype;
        (*parameter).paramtypmod = (*vector).consttypmod;
        (*parameter).paramcollid = (*vector).constcollid;
        (*parameter).location = -1;
        parameter.cast()
    }
}

/// What takes an operand's place, if anything does.
type Replacement = unsafe fn(*mut pg_sys::Node, &PgList<pg_sys::Const>) -> Option<*mut pg_sys::Node>;

/// Replaces operands in all expressions of a scan of an index; other plans stay as they are.
///
/// # Safety
/// The plan is nobody else's, but its expressions may be; `vectors` is a list of constants.
unsafe fn replace_all(plan: *mut pg_sys::Plan, vectors: *mut pg_sys::List, replacement: Replacement) {
    /// # Safety
    /// Only [`replace_all`] and Postgres call it, with a pair as the context.
    #[pg_guard]
    unsafe extern "C-unwind" fn replace(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
        enter!();
        // SAFETY: Postgres gives nodes of the expression, or null.
        unsafe {
            if node.is_null() {
                return false;
            }
            let (vectors, replacement) = &*context.cast::<(PgList<pg_sys::Const>, Replacement)>();
            if let Some(operands) = operands(node) {
                let cells = operands.into_pg();
                for cell in 0..pg_sys::list_length(cells) as usize {
                    let operand = &mut (*(*cells).elements.add(cell)).ptr_value;
                    if let Some(other) = replacement((*operand).cast(), vectors) {
                        *operand = other.cast();
                    }
                }
            }
            pg_sys::expression_tree_walker(node, Some(replace), context)
        }
    }
    // SAFETY: by the caller's promise.
    unsafe {
        let Some(scan) = index_scan(plan) else { return };
        let mut context = (PgList::<pg_sys::Const>::from_pg(vectors), replacement);
        for expressions in [
            &mut (*plan).targetlist,
            &mut (*plan).qual,
            &mut (*scan).indexorderby,
            &mut (*scan).indexorderbyorig,
        ] {
            *expressions = pg_sys::copyObjectImpl((*expressions).cast()).cast();
            replace((*expressions).cast(), (&raw mut context).cast());
        }
    }
}
