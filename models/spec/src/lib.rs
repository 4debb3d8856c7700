//! Layouts of registers and in-memory structures, declared once. No algorithms.
