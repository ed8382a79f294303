//! Postgres's nodes and lists of them, read without `unsafe`.
//!
//! What the planner and the executor hand out are pointers to structs that lead to others: nodes, told apart
//! by their tags, and lists whose type says nothing of their elements. Here they have types. Who makes a
//! [`NodeRef`] promises that Postgres has made the node; what its fields point to then follows from
//! Postgres's headers, as the table below repeats them.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{self, NonNull};

use pgrx::{pg_guard, pg_sys};

use crate::error_context::enter;

/// A node of Postgres's.
pub struct NodeRef<'p, T>(NonNull<T>, PhantomData<&'p T>);

impl<'p, T> NodeRef<'p, T> {
    /// A node.
    ///
    /// # Safety
    /// `node` is one of Postgres's. It and all that it leads to live for `'p`, and are not changed while a
    /// reference to a field lives.
    pub unsafe fn new(node: *mut T) -> Self {
        Self(NonNull::new(node).expect("a node of Postgres's"), PhantomData)
    }

    /// A node, or none where the pointer is null.
    ///
    /// # Safety
    /// As for [`NodeRef::new`].
    pub unsafe fn or_null(node: *mut T) -> Option<Self> {
        NonNull::new(node).map(|node| Self(node, PhantomData))
    }

    /// For Postgres's functions.
    pub fn as_ptr(self) -> *mut T {
        self.0.as_ptr()
    }

    /// The node as one of a narrower type, if that is what its tag says: Postgres's macro IsA.
    pub fn downcast<U: Tagged<Base = T>>(self) -> Option<NodeRef<'p, U>> {
        // SAFETY: every node begins with its tag.
        let tag = unsafe { self.0.cast::<pg_sys::Node>().as_ref() }.type_;
        U::TAGS.contains(&tag).then_some(NodeRef(self.0.cast(), PhantomData))
    }

    /// The node as one of the wider type.
    pub fn upcast(self) -> NodeRef<'p, T::Base>
    where
        T: Tagged,
    {
        NodeRef(self.0.cast(), PhantomData)
    }
}

impl<'p> NodeRef<'p, pg_sys::PlannerInfo> {
    /// A new node, in the memory that the planner gives back when it has ended.
    pub fn allocate<T>(self, node: T) -> NodeRef<'p, T> {
        // SAFETY: palloc gives memory for any struct, in the planner's memory context, which is current while
        // it plans.
        unsafe {
            let memory = pg_sys::palloc(size_of::<T>()).cast::<T>();
            memory.write(node);
            NodeRef::new(memory)
        }
    }

    /// A copy of an expression, in the same memory.
    pub fn copy(self, expression: NodeRef<pg_sys::Node>) -> NodeRef<'p, pg_sys::Node> {
        // SAFETY: as above; a copy is as the node.
        unsafe { NodeRef::new(pg_sys::copyObjectImpl(expression.as_ptr().cast()).cast()) }
    }
}

impl<T> Deref for NodeRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: by the promise of `new`.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Clone for NodeRef<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for NodeRef<'_, T> {}

/// Whether they are the same node.
impl<T> PartialEq for NodeRef<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// A list of nodes.
pub struct List<'p, T>(*mut pg_sys::List, PhantomData<&'p T>);

impl<'p, T> List<'p, T> {
    /// A list.
    ///
    /// # Safety
    /// `list` is null or one of Postgres's, whose elements are null or as [`NodeRef::new`] demands.
    pub unsafe fn new(list: *mut pg_sys::List) -> Self {
        Self(list, PhantomData)
    }

    /// For Postgres's functions.
    pub fn as_ptr(self) -> *mut pg_sys::List {
        self.0
    }

    /// The number of its elements.
    pub fn len(self) -> usize {
        // SAFETY: by the promise of `new`.
        unsafe { self.0.as_ref() }.map_or(0, |list| list.length as usize)
    }

    /// Whether it has no element.
    pub fn is_empty(self) -> bool {
        self.0.is_null()
    }

    /// An element; `None` where it is null, too.
    pub fn get(self, place: usize) -> Option<NodeRef<'p, T>> {
        // SAFETY: by the promise of `new`; a list has as many cells as it says.
        unsafe {
            let cell = (place < self.len()).then(|| *(*self.0).elements.add(place))?;
            NodeRef::or_null(cell.ptr_value.cast())
        }
    }

    /// The first element.
    pub fn first(self) -> Option<NodeRef<'p, T>> {
        self.get(0)
    }

    /// Its elements that are not null.
    pub fn iter(self) -> impl Iterator<Item = NodeRef<'p, T>> {
        (0..self.len()).filter_map(move |place| self.get(place))
    }

    /// Puts another element in a place.
    ///
    /// # Safety
    /// The list is nobody else's, and has the place.
    pub unsafe fn replace(self, place: usize, node: NodeRef<'p, T>) {
        // SAFETY: by the caller's promise.
        unsafe { (*(*self.0).elements.add(place)).ptr_value = node.as_ptr().cast() }
    }
}

/// A new list, in the current memory context.
impl<'p, T> FromIterator<Option<NodeRef<'p, T>>> for List<'p, T> {
    fn from_iter<I: IntoIterator<Item = Option<NodeRef<'p, T>>>>(nodes: I) -> Self {
        let append = |list, node: Option<NodeRef<T>>| {
            let node = node.map_or(ptr::null_mut(), NodeRef::as_ptr);
            // SAFETY: the list is new, and may be moved.
            unsafe { pg_sys::lappend(list, node.cast()) }
        };
        Self(nodes.into_iter().fold(ptr::null_mut(), append), PhantomData)
    }
}

impl<T> Default for List<'_, T> {
    /// An empty list.
    fn default() -> Self {
        Self(ptr::null_mut(), PhantomData)
    }
}

impl<T> Clone for List<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<'_, T> {}

/// A node type that tags tell from others.
///
/// # Safety
/// A node with one of the tags has this type, which begins with the base, and the base with the tag.
pub unsafe trait Tagged {
    /// The type that says less.
    type Base;
    /// Its tags.
    const TAGS: &'static [pg_sys::NodeTag];
}

/// A path with one child, which follows what all paths have.
#[repr(C)]
pub struct UnaryPath {
    path: pg_sys::Path,
    subpath: *mut pg_sys::Path,
}

macro_rules! tags {
    ($($base:ident: $($type:ty = $($tag:ident)|+),+;)*) => { $( $(
        // SAFETY: as nodes/pathnodes.h, plannodes.h, primnodes.h, execnodes.h and supportnodes.h declare
        // them.
        unsafe impl Tagged for $type {
            type Base = pg_sys::$base;
            const TAGS: &'static [pg_sys::NodeTag] = &[$(pg_sys::NodeTag::$tag),+];
        }
    )+ )* };
}

tags! {
    Node: pg_sys::ReturnSetInfo = T_ReturnSetInfo, pg_sys::List = T_List, pg_sys::Const = T_Const,
        pg_sys::Param = T_Param, pg_sys::Var = T_Var, pg_sys::OpExpr = T_OpExpr, pg_sys::BoolExpr = T_BoolExpr, pg_sys::FuncExpr = T_FuncExpr,
        pg_sys::RelabelType = T_RelabelType, pg_sys::SupportRequestSimplify = T_SupportRequestSimplify;
    Path: pg_sys::IndexPath = T_IndexPath, pg_sys::BitmapHeapPath = T_BitmapHeapPath, pg_sys::CustomPath = T_CustomPath,
        pg_sys::AppendPath = T_AppendPath, pg_sys::MergeAppendPath = T_MergeAppendPath,
        pg_sys::JoinPath = T_NestPath | T_MergePath, pg_sys::SubqueryScanPath = T_SubqueryScanPath,
        pg_sys::ProjectionPath = T_ProjectionPath,
        UnaryPath = T_IncrementalSortPath | T_ProjectionPath | T_ProjectSetPath | T_MaterialPath
            | T_WindowAggPath | T_LockRowsPath | T_LimitPath | T_GatherMergePath;
    Plan: pg_sys::IndexScan = T_IndexScan, pg_sys::CustomScan = T_CustomScan;
    PlanState: pg_sys::IndexScanState = T_IndexScanState;
    PlanState: pg_sys::ModifyTableState = T_ModifyTableState;
}

macro_rules! fields {
    (type one $target:ident) => { NodeRef<'p, pg_sys::$target> };
    (type perhaps $target:ident) => { Option<NodeRef<'p, pg_sys::$target>> };
    (type list $target:ident) => { List<'p, pg_sys::$target> };
    (one $field:expr) => { NodeRef::new($field) };
    (perhaps $field:expr) => { NodeRef::or_null($field) };
    (list $field:expr) => { List::new($field) };
    ($($node:ty { $($field:ident: $kind:ident $target:ident),+ $(,)? })*) => { $(
        #[allow(non_snake_case, reason = "Postgres's names")]
        impl<'p> NodeRef<'p, $node> { $(
            #[doc = concat!("Its field ", stringify!($field), ".")]
            pub fn $field(self) -> fields!(type $kind $target) {
                // SAFETY: the field of a node of Postgres's, which the promise of `new` covers.
                unsafe { fields!($kind (*self.0.as_ptr()).$field) }
            }
        )+ }
    )* };
}

fields! {
    pg_sys::PlannerInfo {
        parse: one Query, glob: one PlannerGlobal, parent_root: perhaps PlannerInfo,
        append_rel_list: list AppendRelInfo,
        sort_pathkeys: list PathKey, query_pathkeys: list PathKey, processed_tlist: list TargetEntry,
    }
    pg_sys::Query {
        targetList: list TargetEntry, windowClause: list WindowClause, cteList: list CommonTableExpr,
        limitCount: perhaps Node, limitOffset: perhaps Node,
    }
    pg_sys::RelOptInfo {
        reltarget: one PathTarget, pathlist: list Path, subroot: one PlannerInfo, joininfo: list RestrictInfo,
        baserestrictinfo: list RestrictInfo, indexlist: list IndexOptInfo,
    }
    pg_sys::PlannerGlobal { subroots: list PlannerInfo }
    pg_sys::RestrictInfo {
        clause: one Expr, left_ec: perhaps EquivalenceClass, right_ec: perhaps EquivalenceClass,
    }
    pg_sys::IndexOptInfo { rel: one RelOptInfo, indexprs: list Node, indrestrictinfo: list RestrictInfo }
    pg_sys::BitmapHeapPath { bitmapqual: one Path }
    pg_sys::PathKey { pk_eclass: one EquivalenceClass }
    pg_sys::EquivalenceClass { ec_members: list EquivalenceMember, ec_merged: perhaps EquivalenceClass }
    pg_sys::EquivalenceMember { em_expr: one Expr }
    pg_sys::WindowClause { partitionClause: list SortGroupClause, orderClause: list SortGroupClause }
    pg_sys::PathTarget { exprs: list Expr }
    pg_sys::TargetEntry { expr: one Expr }
    pg_sys::Path { parent: one RelOptInfo, pathtarget: one PathTarget, pathkeys: list PathKey }
    pg_sys::IndexPath { indexinfo: one IndexOptInfo, indexclauses: list IndexClause, indexorderbys: list Node }
    pg_sys::IndexClause { rinfo: one RestrictInfo }
    pg_sys::CustomPath { custom_paths: list Path, custom_private: list List }
    pg_sys::AppendPath { subpaths: list Path }
    pg_sys::MergeAppendPath { subpaths: list Path }
    pg_sys::JoinPath { outerjoinpath: one Path }
    UnaryPath { subpath: one Path }
    pg_sys::SubqueryScanPath { subpath: one Path }
    pg_sys::ProjectionPath { subpath: one Path }
    pg_sys::OpExpr { args: list Node }
    pg_sys::BoolExpr { args: list Node }
    pg_sys::FuncExpr { args: list Node }
    pg_sys::RelabelType { arg: one Expr }
    pg_sys::SupportRequestSimplify { fcall: one FuncExpr }
    pg_sys::IndexScan { indexorderby: list Node }
    pg_sys::CustomScan { custom_plans: list Plan, custom_exprs: list Node, custom_private: list Node }
}

impl<'p> NodeRef<'p, pg_sys::Expr> {
    /// An expression as any node.
    pub fn as_node(self) -> NodeRef<'p, pg_sys::Node> {
        NodeRef(self.0.cast(), PhantomData)
    }
}

/// Whether a function says so of some node of an expression, the outer ones first.
pub fn any<'p>(
    expression: NodeRef<'p, pg_sys::Node>,
    is: &mut dyn FnMut(NodeRef<'p, pg_sys::Node>) -> bool,
) -> bool {
    type Question<'a, 'p> = &'a mut dyn FnMut(NodeRef<'p, pg_sys::Node>) -> bool;

    /// # Safety
    /// Only [`any`] and Postgres call it, with a `Question` as the context.
    #[pg_guard]
    unsafe extern "C-unwind" fn visit(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
        enter!();
        // SAFETY: Postgres gives nodes of the expression, or null.
        let Some(node) = (unsafe { NodeRef::or_null(node) }) else { return false };
        // SAFETY: by the caller's promise; the question is not being asked.
        let is = unsafe { &mut *context.cast::<Question>() };
        // SAFETY: the node is one of an expression.
        is(node) || unsafe { pg_sys::expression_tree_walker(node.as_ptr(), Some(visit), context) }
    }

    let mut question: Question = is;
    // SAFETY: as `visit` demands.
    unsafe { visit(expression.as_ptr(), (&raw mut question).cast()) }
}
