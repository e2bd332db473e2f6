//! An allocator that knows how many bytes each thread holds, so that a test can bound what decoding costs. It caught
//! a planted bug: a vector reserved by the count in the frame and not by the bytes present (`jute::Reader::strings`).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting.
pub(crate) struct Counting;

fn count(bytes: isize) {
    // A thread that is being torn down may allocate after its counters are gone; nobody measures it then.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call goes to `System` unchanged; the counters are plain cells of the calling thread and allocate
// nothing. Growing goes through `alloc` and `dealloc`, the trait's default, so old and new block both count.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller upholds the contract for `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller got `block` from `alloc` above, hence from `System`, with this `layout`.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Most bytes that this thread held at once during `work`, beyond what it held before.
pub(crate) fn peak_bytes<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before).unsigned_abs())
}

/// Runs `work` on an input of `input` bytes and holds it to `times` that, and 64 KiB.
pub(crate) fn bounded<T>(input: usize, times: usize, work: impl FnOnce() -> T) -> T {
    let (result, peak) = peak_bytes(work);
    let bound = times * input + (64 << 10);
    assert!(peak <= bound, "{peak} bytes held for an input of {input}, past {bound}");
    result
}

#[test]
fn the_peak_counts_what_was_freed_again_and_what_growing_holds_twice() {
    let ((), peak) = peak_bytes(|| drop(std::hint::black_box(vec![1u8; 100_000])));
    assert_eq!(peak, 100_000);
    let ((), peak) = peak_bytes(|| {
        let mut grown = std::hint::black_box(vec![1u8; 1000]);
        grown.reserve_exact(1000);
        std::hint::black_box(&grown);
    });
    assert_eq!(peak, 3000);
    let ((), peak) = peak_bytes(|| ());
    assert_eq!(peak, 0);
}

#[test]
#[should_panic(expected = "bytes held for an input of 10")]
fn an_allocation_past_the_bound_fails_the_target() {
    bounded(10, 4, || std::hint::black_box(vec![0u8; 70_000]));
}
