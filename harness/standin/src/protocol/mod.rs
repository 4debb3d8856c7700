//! Messages between QEMU and a function that lives here.
