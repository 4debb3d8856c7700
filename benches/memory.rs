//! Host memory per endpoint: the same run with few and with many endpoints behind one psmmu, and the difference of the
//! peaks of live bytes. What does not depend on the number of endpoints cancels out.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use benches::{parse, passing};

/// The system's allocator, which counts the bytes in use.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(live, Relaxed);
}

fn shrink(bytes: usize) {
    LIVE.fetch_sub(bytes, Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came. The counters need no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        shrink(layout.size());
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        shrink(layout.size());
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Most bytes in use during a run, beyond those before it. The scenario itself counts, too.
fn peak(endpoints: u64, used: u64) -> usize {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let text = format!(
        "title = \"Endpoints of the host\"\n\
         [node.node0]\n\
         cpus = 120\n\
         [psmmu.smmu0]\n\
         [endpoint.nic]\n\
         count = {endpoints}\n\
         [load.loop]\n\
         endpoint = \"nic\"\n\
         threads = {used}\n\
         count = 4\n"
    );
    drop(passing(&parse("endpoints", &text)));
    PEAK.load(Relaxed) - before
}

/// Prints what each endpoint adds between two runs.
fn compare(what: &str, [few, many]: [(u64, u64); 2]) {
    let (small, large) = (peak(few.0, few.1), peak(many.0, many.1));
    let endpoints = (many.0 - few.0).max(many.1 - few.1);
    let each = (large as f64 - small as f64) / endpoints as f64;
    println!("{what}: {each:.0} bytes per endpoint (peak {small} with {}, {large} with {})", few.0, many.0);
}

fn main() {
    // The first run allocates what stays for good.
    peak(16, 4);
    println!("Peak of live heap bytes during a run, difference of two runs by difference of endpoints.");
    compare("endpoints that do nothing", [(16, 4), (4096, 4)]);
    compare("endpoints that do nothing, many", [(4096, 4), (16384, 4)]);
    compare("endpoints with a domain, a thread and DMA", [(4, 4), (100, 100)]);
}
