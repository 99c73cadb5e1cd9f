//! The only room of `shared` with I/O.
