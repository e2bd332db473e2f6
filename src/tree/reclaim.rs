//! Memory that many cores read while one core replaces it: the only home of crossbeam-epoch.
//!
//! # Who retires, when it is freed, what a reader may still see
//!
//! One writer (the [`Token`]) links immutable objects into [`Link`]s; readers follow them under a [`Pinned`] guard.
//! When the writer replaces an object it gets a [`Retired`] back and gives it to [`Grace::retire`]. Nothing is freed
//! there: retired objects gather in an open batch, and [`Grace::seal`], which the writer calls only after `applied`
//! covers the txns that retired them, closes the batch and defers one note through the epoch. When every guard that
//! was pinned at that moment is gone, some thread runs the note, which raises the grace clock to the batch's number;
//! the writer finds the clock raised and frees the batch, in slices. So all frees happen on the writer's thread, in
//! the order of retirement, and a shard never pays for another's garbage. (Epochs only grow, hence a note that ran
//! proves the grace of all batches before its own; a queue of notes would tell no more than the clock does.)
//!
//! A reader at D takes the newest version ≤ D of a chain ([`Link::load_at`]). It was pinned before it loaded D, and a
//! version is retired only after `applied` passed its successor: whatever it needs is still there (DESIGN §2). The
//! predecessor of a version ≤ D may be long freed, and is never followed.
//!
//! The same holds for every D between the zxid at which a guard was pinned and the newest: a version that a reader at D
//! needs was replaced, if at all, by a txn after the pin. So a [`Post`] that a shard holds from one turn to the next lets
//! the next turn read at each zxid that came between (`reader.rs`, Anchor).
//!
//! Some memory is needed longer than a turn: the nodes whose names a [`Lease`] (a long listing) still has to write
//! out. Objects retired as *held* are freed only when also every lease taken before their grace ended is returned.
//!
//! # Invariants that the safety of this file rests on; `tree/` upholds them and nothing outside can reach in
//!
//! 1. A [`Ref`] is stored only in objects that are retired no later than its target.
//! 2. There is one [`Token`] for each world, and only its holder stores into that world's links.
//! 3. [`Grace::seal`] comes after `applied` covers everything retired so far.
//!
//! Lives on: [`Pinned`] and [`Lease`] on each shard, the rest on the sequencer.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence};

use crossbeam_epoch::{Guard, LocalHandle, default_collector, pin};

use crate::base::Zxid;

/// Proof that what was reachable stays allocated for `'a`: given out by a guard, by a lease and by the writer's token.
#[derive(Clone, Copy)]
pub(super) struct Witness<'a>(PhantomData<(&'a (), *const ())>);

/// The right to change one world. Not `Sync`: references to it stay on one thread, so there is one writer.
pub(super) struct Token(PhantomData<Cell<()>>);

impl Token {
    /// One for each world (invariant 2).
    pub(super) fn new() -> Token {
        Token(PhantomData)
    }

    /// The writer needs no guard: only it frees, and freeing takes the token by `&mut`.
    pub(super) fn witness(&self) -> Witness<'_> {
        Witness(PhantomData)
    }
}

/// What an object is made of: `Self` is its fixed part; an extension may follow, then bytes.
pub(super) trait Object: Send + Sync + Sized {
    /// Optional second part; `()` where there is none.
    type Extension: Copy + Send + Sync;
}

/// An object that is one version in a chain.
pub(super) trait Version: Object {
    /// The txn that made it.
    fn zxid(&self) -> Zxid;
    /// The version before; dangling once `applied` passed [`Version::zxid`].
    fn predecessor(this: At<'_, Self>) -> Option<Ref<Self>>;
}

/// Layout in memory: this, the extension if bit 31 of `meta` says so, then `length` bytes. One allocation and a thin
/// pointer, so that a link is a word and a small record takes one cache line or two.
#[repr(C)]
struct Thin<H: Object> {
    length: u32,
    meta: AtomicU32,
    head: H,
}

const EXTENDED: u32 = 1 << 31;

impl<H: Object> Thin<H> {
    const HAS_EXTENSION: bool = size_of::<H::Extension>() > 0;
    const CHECKED: () = {
        assert!(align_of::<Thin<H>>() == 8);
        assert!(align_of::<H::Extension>() <= 8 && size_of::<H::Extension>() % 8 == 0);
    };

    fn offset(extended: bool) -> usize {
        size_of::<Thin<H>>() + if extended { size_of::<H::Extension>() } else { 0 }
    }

    fn layout(extended: bool, length: usize) -> Layout {
        let size = Self::offset(extended).checked_add(length).expect("a length below 2^32 plus a header");
        Layout::from_size_align(size, 8).expect("a length below 2^32 plus a header")
    }

    fn extended(meta: u32) -> bool {
        Self::HAS_EXTENSION && meta & EXTENDED != 0
    }

    fn bytes_of(this: NonNull<Self>) -> usize {
        // SAFETY: callers hold a live object; the two fields are in its fixed part. Relaxed: the flag never changes.
        let (length, meta) = unsafe { ((*this.as_ptr()).length, (*this.as_ptr()).meta.load(Relaxed)) };
        Self::offset(Self::extended(meta)) + length as usize
    }

    /// # Safety
    /// `this` came from [`Owned::new`], nobody else uses it any more.
    unsafe fn free(this: NonNull<u8>) {
        let this = this.cast::<Thin<H>>();
        // SAFETY: the caller's; the layout is the one of the allocation, since `length` and the flag never change.
        unsafe {
            let (length, meta) = ((*this.as_ptr()).length, *(*this.as_ptr()).meta.get_mut());
            std::ptr::drop_in_place(this.as_ptr());
            dealloc(this.as_ptr().cast(), Self::layout(Self::extended(meta), length as usize));
        }
    }
}

/// An object that no reader knows yet.
pub(super) struct Owned<H: Object>(NonNull<Thin<H>>);

impl<H: Object> Owned<H> {
    /// Allocates an object. Bit 31 of `meta` belongs to this file where `H` has an extension.
    pub(super) fn new(head: H, extension: Option<H::Extension>, meta: u32, bytes: &[u8]) -> Owned<H> {
        let () = Thin::<H>::CHECKED;
        let extended = Thin::<H>::HAS_EXTENSION && extension.is_some();
        assert!(!Thin::<H>::HAS_EXTENSION || meta & EXTENDED == 0, "bit 31 of meta is taken");
        let length = u32::try_from(bytes.len()).expect("bytes came from one frame");
        let layout = Thin::<H>::layout(extended, bytes.len());
        // SAFETY: the layout is not empty (it holds the fixed part). Each part is written inside the allocation, at
        // an offset that suits its alignment (`CHECKED`), before anybody can read it.
        unsafe {
            let Some(this) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            let meta = if extended { meta | EXTENDED } else { meta };
            this.cast::<Thin<H>>().write(Thin { length, meta: AtomicU32::new(meta), head });
            if let (true, Some(extension)) = (extended, extension) {
                this.add(Thin::<H>::offset(false)).cast::<H::Extension>().write(extension);
            }
            this.add(Thin::<H>::offset(extended))
                .copy_from_nonoverlapping(NonNull::from(bytes).cast::<u8>(), bytes.len());
            Owned(this.cast())
        }
    }

    /// The object while it is still ours.
    pub(super) fn at(&self) -> At<'_, H> {
        At(self.0, PhantomData)
    }

    /// Gives it up to an owner that keeps a `Ref`: the index.
    pub(super) fn into_ref(self) -> Ref<H> {
        Ref(self.into_raw())
    }

    fn into_raw(self) -> NonNull<Thin<H>> {
        let raw = self.0;
        std::mem::forget(self);
        raw
    }
}

impl<H: Object> Drop for Owned<H> {
    fn drop(&mut self) {
        // SAFETY: an `Owned` is the only way to its object; `into_raw` forgets it.
        unsafe { Thin::<H>::free(self.0.cast()) }
    }
}

// SAFETY: it is a unique owner of `H`, its extension and bytes, all of which may change threads (`Object`).
unsafe impl<H: Object> Send for Owned<H> {}

/// A reference to an object. Not `&H`: that would not cover the extension and the bytes behind the fixed part.
pub(super) struct At<'a, H: Object>(NonNull<Thin<H>>, PhantomData<&'a H>);

impl<H: Object> Clone for At<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: Object> Copy for At<'_, H> {}

impl<'a, H: Object> At<'a, H> {
    /// The fixed part.
    pub(super) fn head(self) -> &'a H {
        // SAFETY: an `At` exists only while its object does, and objects are never written but through atomics.
        unsafe { &(*self.0.as_ptr()).head }
    }

    /// The second part, if it was allocated with one.
    pub(super) fn extension(self) -> Option<&'a H::Extension> {
        // SAFETY: as in `head`; the flag says that an extension was written at this offset.
        Thin::<H>::extended(self.meta()).then(|| unsafe {
            self.0.cast::<u8>().add(Thin::<H>::offset(false)).cast::<H::Extension>().as_ref()
        })
    }

    /// The bytes behind.
    pub(super) fn bytes(self) -> &'a [u8] {
        // SAFETY: as in `head`; `length` bytes were written at this offset, inside the same allocation.
        unsafe {
            let start = self.0.cast::<u8>().add(Thin::<H>::offset(Thin::<H>::extended(self.meta())));
            std::slice::from_raw_parts(start.as_ptr(), (*self.0.as_ptr()).length as usize)
        }
    }

    fn word(self) -> &'a AtomicU32 {
        // SAFETY: as in `head`.
        unsafe { &(*self.0.as_ptr()).meta }
    }

    /// The free bits given at allocation.
    pub(super) fn meta(self) -> u32 {
        // Relaxed: written before the object was linked (Release), read after it was loaded (Acquire).
        self.word().load(Relaxed)
    }

    /// Changes the free bits of an object without extension to what `change` gives for them; false where that is `None`.
    /// AcqRel: see `snapshot.rs`, where writer and walker decide by it who images a node.
    pub(super) fn update_meta(self, change: impl Fn(u32) -> Option<u32>) -> bool {
        assert!(!Thin::<H>::HAS_EXTENSION, "meta of an object that may have an extension is fixed");
        self.word().fetch_update(AcqRel, Acquire, change).is_ok()
    }

    /// The same object, without the proof that it lives.
    pub(super) fn to_ref(self) -> Ref<H> {
        Ref(self.0)
    }
}

impl<H: Object> Deref for At<'_, H> {
    type Target = H;

    fn deref(&self) -> &H {
        self.head()
    }
}

/// A pointer to an object, to be stored in another object (invariant 1).
pub(super) struct Ref<H: Object>(NonNull<Thin<H>>);

impl<H: Object> Clone for Ref<H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: Object> Copy for Ref<H> {}

impl<H: Object> PartialEq for Ref<H> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<H: Object> Eq for Ref<H> {}

// SAFETY: a pointer; `get` gives shared access to `H`, which is `Sync`.
unsafe impl<H: Object> Send for Ref<H> {}
// SAFETY: as above.
unsafe impl<H: Object> Sync for Ref<H> {}

impl<H: Object> Ref<H> {
    /// The object. Invariant 1 makes it live while the object that holds `self` is protected by a witness.
    pub(super) fn get<'a>(self, _: Witness<'a>) -> At<'a, H> {
        At(self.0, PhantomData)
    }

    /// Address, to group by; says nothing about order in time.
    pub(super) fn address(self) -> usize {
        self.0.as_ptr().addr()
    }

    pub(super) fn into_pointer(self) -> *mut () {
        self.0.as_ptr().cast()
    }

    /// # Safety
    /// `pointer` came from [`Ref::into_pointer`] of a `Ref<H>`.
    pub(super) unsafe fn from_pointer(pointer: NonNull<()>) -> Ref<H> {
        Ref(pointer.cast())
    }
}

/// An object taken out of every link: to be given to [`Grace::retire`]. Forgetting it leaks, which is safe.
#[must_use]
pub(super) struct Retired<H: Object>(NonNull<Thin<H>>);

impl<H: Object> Retired<H> {
    /// # Safety
    /// Nothing that a reader pinned from now on can reach leads to `object` any more.
    pub(super) unsafe fn from_ref(object: Ref<H>) -> Retired<H> {
        Retired(object.0)
    }

    /// # Safety
    /// Nobody can reach the object any more, guarded or not.
    pub(super) unsafe fn free_now(self) {
        // SAFETY: the caller's.
        unsafe { Thin::<H>::free(self.0.cast()) }
    }
}

/// An atomic pointer to an object, which it owns: read under a witness, stored by the writer alone.
pub(super) struct Link<H: Object>(AtomicPtr<Thin<H>>);

impl<H: Object> Link<H> {
    /// A link to `object`, or to nothing.
    pub(super) fn new(object: Option<Owned<H>>) -> Link<H> {
        Link(AtomicPtr::new(object.map_or(std::ptr::null_mut(), |object| object.into_raw().as_ptr())))
    }

    /// The newest object.
    pub(super) fn load<'a>(&'a self, _: Witness<'a>) -> Option<At<'a, H>> {
        // Acquire pairs with the Release in `store`: the object is complete.
        NonNull::new(self.0.load(Acquire)).map(|object| At(object, PhantomData))
    }

    /// Links `object` in place of the old one.
    #[must_use]
    pub(super) fn store(&self, _: &Token, object: Option<Owned<H>>) -> Option<Retired<H>> {
        let new = object.map_or(std::ptr::null_mut(), |object| object.into_raw().as_ptr());
        let old = self.0.load(Relaxed); // Relaxed: only this thread stores.
        // Release pairs with the Acquire in `load`.
        self.0.store(new, Release);
        NonNull::new(old).map(Retired)
    }
}

impl<H: Version> Link<H> {
    /// The newest version made by a txn ≤ `at`.
    pub(super) fn load_at<'a>(&'a self, witness: Witness<'a>, at: Zxid) -> Option<At<'a, H>> {
        let mut version = self.load(witness)?;
        while version.zxid() > at {
            version = H::predecessor(version)?.get(witness);
        }
        Some(version)
    }
}

impl<H: Object> Drop for Link<H> {
    fn drop(&mut self) {
        if let Some(object) = NonNull::new(*self.0.get_mut()) {
            // SAFETY: a link is dropped when the object around it is freed, so nobody reads through it; what it
            // replaced before was given out as `Retired`, hence its present object is freed here and only here.
            unsafe { Thin::<H>::free(object.cast()) }
        }
    }
}

/// The pointer to a whole state, behind which another can be put while readers are inside.
pub(super) struct Root<T: Send + Sync>(AtomicPtr<T>, PhantomData<Arc<T>>);

impl<T: Send + Sync + 'static> Root<T> {
    /// Points to `state`.
    pub(super) fn new(state: Arc<T>) -> Root<T> {
        Root(AtomicPtr::new(Arc::into_raw(state).cast_mut()), PhantomData)
    }

    /// Enters the state: a guard first, then the pointer.
    pub(super) fn pin(&self) -> Pinned<'_, T> {
        let guard = pin();
        let state = self.load();
        Pinned { guard, state, root: self }
    }

    fn load(&self) -> NonNull<T> {
        // Acquire pairs with the AcqRel in `replace`: the state is complete.
        NonNull::new(self.0.load(Acquire)).expect("a root always points to a state")
    }

    /// Puts `state` in place of the old one, which `grace` lets go when no reader is inside any more.
    pub(super) fn replace<N>(&self, state: Arc<T>, grace: &mut Grace<N>) {
        // Release publishes the new state to `load`; Acquire is for the old one, which `grace` drops in time.
        let old = self.0.swap(Arc::into_raw(state).cast_mut(), AcqRel);
        let old = NonNull::new(old).expect("a root always points to a state");
        grace.push(Garbage { object: old.cast(), free: release::<T>, bytes: 0, held: false });
    }
}

impl<T: Send + Sync> Drop for Root<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Arc::into_raw`. Every `Pinned` borrows this root and is gone; one that entered
        // a state through another root does so under that root's own count.
        drop(unsafe { Arc::from_raw(*self.0.get_mut()) });
    }
}

/// # Safety
/// `state` came from `Arc::into_raw` of an `Arc<T>`, and this count is released once.
unsafe fn release<T>(state: NonNull<u8>) {
    // SAFETY: the caller's.
    drop(unsafe { Arc::from_raw(state.cast::<T>().as_ptr()) });
}

/// The witness of a pinned epoch, and the state that was entered under it.
///
/// Hold it for one turn, never across an await: while it lives nothing retired later is freed, for anybody. It is not
/// `Send`. A shard's tasks need not be `Send` either, so the compiler will not catch a guard kept too long; the read
/// API therefore is synchronous and hands out borrows of the guard only.
pub(super) struct Pinned<'r, T: Send + Sync> {
    guard: Guard,
    state: NonNull<T>,
    root: &'r Root<T>,
}

impl<T: Send + Sync + 'static> Pinned<'_, T> {
    /// The state.
    pub(super) fn state(&self) -> &T {
        // SAFETY: the root held a count when the pointer was loaded, after the pin; `replace` gives the count up only
        // after a grace period, which this guard delays.
        unsafe { self.state.as_ref() }
    }

    /// Proof for the links of that state.
    pub(super) fn witness(&self) -> Witness<'_> {
        Witness(PhantomData)
    }

    /// Enters once more, under a guard within this one.
    pub(super) fn again(&self) -> Pinned<'_, T> {
        self.root.pin()
    }

    /// Leaves and enters again; what was borrowed is given up first, says the `&mut`.
    pub(super) fn repin(&mut self) {
        self.guard.repin();
        self.state = self.root.load();
    }

    /// A count of one's own, to keep the state (not its current records) beyond the guard.
    pub(super) fn to_arc(&self) -> Arc<T> {
        // SAFETY: the pointer came from `Arc::into_raw` and the count behind it is not given up yet, as in `state`.
        unsafe {
            Arc::increment_strong_count(self.state.as_ptr());
            Arc::from_raw(self.state.as_ptr())
        }
    }
}

/// A participant of the epoch beside the thread's own, whose guards a turn would otherwise nest in: it is pinned and let
/// go without regard to the turns it spans.
pub(super) struct Post {
    handle: LocalHandle,
    guard: Option<Guard>,
}

impl Post {
    /// Pinned to nothing yet.
    pub(super) fn new() -> Post {
        Post { handle: default_collector().register(), guard: None }
    }

    /// Pins to the present epoch, in place of the one held.
    pub(super) fn pin(&mut self) {
        // First out: a participant that is pinned already stays where it is.
        self.guard = None;
        self.guard = Some(self.handle.pin());
    }

    /// Lets go.
    pub(super) fn unpin(&mut self) {
        self.guard = None;
    }
}

struct Garbage {
    object: NonNull<u8>,
    free: unsafe fn(NonNull<u8>),
    bytes: u32,
    held: bool,
}

// SAFETY: every object behind it is `Send` (`Object`, `Arc<T: Send + Sync>`, boxes of the index), and it is the only
// owner.
unsafe impl Send for Garbage {}

impl Garbage {
    /// # Safety
    /// No reader can reach the object any more.
    unsafe fn free(self) {
        // SAFETY: the caller's; `free` is the function for the object's type.
        unsafe { (self.free)(self.object) }
    }
}

struct Batch<N> {
    number: u64,
    garbage: Vec<Garbage>,
    notes: VecDeque<N>,
}

/// What is retired and not yet freed, and notes to be told after the same grace. The writer's.
pub(super) struct Grace<N> {
    /// Batches up to this number have had their grace. Raised by whichever thread the epoch chooses.
    clock: Arc<AtomicU64>,
    open: Batch<N>,
    sealed: VecDeque<Batch<N>>,
    /// Past their grace, but a lease may still need them: those that wait for the period that drains, and later ones.
    held: [Vec<Garbage>; 2],
    backlog: Backlog,
}

/// What waits for a grace period. It grows without end while a reader stays pinned: a shard that does not finish its
/// turn (reliability S64), which a watchdog on these numbers finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backlog {
    /// Objects retired and not freed.
    pub objects: usize,
    /// Their bytes, without the allocator's own and without child pages.
    pub bytes: usize,
}

impl<N> Grace<N> {
    /// Nothing retired yet.
    pub(super) fn new() -> Grace<N> {
        Grace {
            clock: Arc::new(AtomicU64::new(0)),
            open: Batch { number: 1, garbage: Vec::new(), notes: VecDeque::new() },
            sealed: VecDeque::new(),
            held: [Vec::new(), Vec::new()],
            backlog: Backlog::default(),
        }
    }

    fn push(&mut self, garbage: Garbage) {
        self.backlog.objects += 1;
        self.backlog.bytes += garbage.bytes as usize;
        self.open.garbage.push(garbage);
    }

    /// Takes an object that was replaced. `held`: a lease may need it beyond the grace.
    pub(super) fn retire<H: Object>(&mut self, retired: Retired<H>, held: bool) {
        let bytes = u32::try_from(Thin::bytes_of(retired.0)).unwrap_or(u32::MAX);
        self.push(Garbage { object: retired.0.cast(), free: Thin::<H>::free, bytes, held });
    }

    /// Takes a box that was replaced.
    ///
    /// # Safety
    /// `object` came from `Box::into_raw`; nothing that a reader pinned from now on can reach leads to it.
    pub(super) unsafe fn retire_box<T: Send>(&mut self, object: NonNull<T>, bytes: usize) {
        /// # Safety
        /// `object` came from `Box::into_raw` of a `Box<T>`.
        unsafe fn free<T>(object: NonNull<u8>) {
            // SAFETY: the caller's.
            drop(unsafe { Box::from_raw(object.cast::<T>().as_ptr()) });
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.push(Garbage { object: object.cast(), free: free::<T>, bytes, held: false });
    }

    /// Keeps `note` until everybody who is pinned now has left.
    pub(super) fn note(&mut self, note: N) {
        self.open.notes.push_back(note);
    }

    /// What waits.
    pub(super) fn backlog(&self) -> Backlog {
        self.backlog
    }

    /// Objects and notes not sealed yet.
    pub(super) fn open_len(&self) -> usize {
        self.open.garbage.len() + self.open.notes.len()
    }

    /// Batches in their grace.
    pub(super) fn sealed_len(&self) -> usize {
        self.sealed.len()
    }

    /// Closes the open batch; its grace begins. Invariant 3: `applied` covers all that is in it.
    pub(super) fn seal(&mut self) {
        if self.open_len() == 0 {
            return;
        }
        let number = self.open.number;
        let next = Batch { number: number + 1, garbage: Vec::new(), notes: VecDeque::new() };
        self.sealed.push_back(std::mem::replace(&mut self.open, next));
        // The fence between `applied` and retirement (DESIGN §2 rule 2). crossbeam fences in `pin` and when the bag is
        // pushed too; the rule should not hang on that.
        fence(SeqCst);
        let clock = Arc::clone(&self.clock);
        let guard = pin();
        // Release pairs with the Acquire in `is_ripe`: what readers did before they left comes before the free.
        guard.defer(move || {
            clock.fetch_max(number, Release);
        });
        guard.flush();
    }

    /// Moves the epoch along; notes of this and other writers may run inside.
    pub(super) fn advance(&self) {
        if !self.sealed.is_empty() {
            pin().flush();
        }
    }

    fn is_ripe(&self) -> bool {
        // Acquire pairs with the Release of the note.
        self.sealed.front().is_some_and(|batch| batch.number <= self.clock.load(Acquire))
    }

    /// The next note whose grace is over, in the order they were given.
    pub(super) fn next_note(&mut self) -> Option<N> {
        let clock = self.clock.load(Acquire); // Pairs with the Release of the note.
        self.sealed
            .iter_mut()
            .take_while(|batch| batch.number <= clock)
            .find_map(|batch| batch.notes.pop_front())
    }

    /// Frees up to `budget` objects whose grace is over; returns how many. The token's `&mut` says that the writer
    /// itself keeps no reference.
    pub(super) fn free(&mut self, _: &mut Token, leases: &Leases, budget: usize) -> usize {
        let mut freed = 0;
        while freed < budget && self.is_ripe() {
            let batch = self.sealed.front_mut().expect("is_ripe looked at it");
            match batch.garbage.pop() {
                Some(garbage) if garbage.held && !leases.are_none() => self.held[1].push(garbage),
                Some(garbage) => {
                    freed += 1;
                    self.backlog.objects -= 1;
                    self.backlog.bytes -= garbage.bytes as usize;
                    // SAFETY: its batch is ripe: every guard pinned when it was sealed is gone, and later ones cannot
                    // reach it. Held objects: leases of before are none, as below.
                    unsafe { garbage.free() };
                }
                None if batch.notes.is_empty() => drop(self.sealed.pop_front()),
                None => break,
            }
        }
        while freed < budget {
            if self.held[0].is_empty() {
                if self.held[1].is_empty() || !leases.flip() {
                    break;
                }
                self.held.swap(0, 1);
            }
            if !leases.drained() {
                break;
            }
            let Some(garbage) = self.held[0].pop() else { break };
            freed += 1;
            self.backlog.objects -= 1;
            self.backlog.bytes -= garbage.bytes as usize;
            // SAFETY: its epoch grace is over, so later readers cannot find it; leases taken before were counted by
            // then in one of the two cells. `flip` succeeded after it entered `held`, which found the other cell empty,
            // and the cell that was in use then has drained since.
            unsafe { garbage.free() };
        }
        freed
    }

    /// Everything not freed yet, to be kept by the state itself when its writer goes before its readers.
    pub(super) fn into_attic(self) -> Attic {
        let batches = self.sealed.into_iter().chain([self.open]).flat_map(|batch| batch.garbage);
        Attic(batches.chain(self.held.into_iter().flatten()).collect())
    }
}

/// Garbage whose grace nobody will watch; freed with the state it belonged to, when no reader can be inside.
#[derive(Default)]
pub(super) struct Attic(Vec<Garbage>);

impl Drop for Attic {
    fn drop(&mut self) {
        for garbage in self.0.drain(..) {
            // SAFETY: the attic is part of the state; the state is dropped when its last count goes, and whoever could
            // reach the garbage held a count or was waited for by the one who did.
            unsafe { garbage.free() };
        }
    }
}

/// Counts the leases out, in two cells of which one is given out from: to know that all leases of before some moment
/// are back, the writer switches cells and waits for the old one to drain, while new leases do not disturb it.
#[derive(Default)]
pub(super) struct Leases {
    current: primitive::AtomicU32,
    out: [primitive::AtomicU64; 2],
}

/// The cells are checked by loom themselves (`loom_models.rs`), not by a model of them.
mod primitive {
    #[cfg(loom)]
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64};
    #[cfg(not(loom))]
    pub(super) use std::sync::atomic::{AtomicU32, AtomicU64};
}

impl Leases {
    /// Counts a lease; call under a guard. Returns the cell.
    pub(super) fn take(&self) -> usize {
        // Relaxed: a stale cell only makes the writer wait for one lease more than it must.
        let cell = (self.current.load(Relaxed) & 1) as usize;
        // Relaxed suffices to be seen in time: the guard is released after this, and the writer looks after the grace
        // period that the guard held up (its Acquire of the clock).
        self.out[cell].fetch_add(1, Relaxed);
        cell
    }

    pub(super) fn give_back(&self, cell: usize) {
        // Release pairs with the Acquire in `drained` and `are_none`: the last look at a name comes before its free.
        let before = self.out[cell].fetch_sub(1, Release);
        debug_assert!(before > 0, "a lease was given back twice");
    }

    pub(super) fn are_none(&self) -> bool {
        // Acquire pairs with the Release in `give_back`.
        self.out.iter().all(|cell| cell.load(Acquire) == 0)
    }

    pub(super) fn flip(&self) -> bool {
        let old = self.current.load(Relaxed); // Only the writer stores.
        // Acquire: as in `are_none`; older leases than the present cell's are back.
        if self.out[((old + 1) & 1) as usize].load(Acquire) != 0 {
            return false;
        }
        self.current.store(old.wrapping_add(1) & 1, Relaxed); // A reader that sees it late: `take`.
        true
    }

    /// Whether the cell before the last flip has drained.
    pub(super) fn drained(&self) -> bool {
        let old = (self.current.load(Relaxed) + 1) & 1; // Only the writer, who asks, stores.
        self.out[old as usize].load(Acquire) == 0 // Pairs with the Release in `give_back`.
    }

    /// Leases out now; for a report.
    pub(super) fn count(&self) -> u64 {
        self.out.iter().map(|cell| cell.load(Relaxed)).sum() // Relaxed: frees nothing.
    }
}

/// Keeps held objects of a state (nodes, hence their names) beyond a guard: for answers that take several turns.
pub(super) struct Lease<T: AsRef<Leases>> {
    state: Arc<T>,
    cell: usize,
}

impl<T: AsRef<Leases> + Send + Sync + 'static> Lease<T> {
    /// Taken while `_witness`, under which the objects were found, is still good.
    pub(super) fn new(state: Arc<T>, _witness: Witness<'_>) -> Lease<T> {
        let cell = (*state).as_ref().take();
        Lease { state, cell }
    }

    /// The state it belongs to.
    pub(super) fn state(&self) -> &Arc<T> {
        &self.state
    }

    /// Proof for held objects only: what hangs on their links needs a guard.
    pub(super) fn witness(&self) -> Witness<'_> {
        Witness(PhantomData)
    }
}

impl<T: AsRef<Leases>> Drop for Lease<T> {
    fn drop(&mut self) {
        (*self.state).as_ref().give_back(self.cell);
    }
}
