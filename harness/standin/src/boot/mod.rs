//! Starting QEMU on a platform.
