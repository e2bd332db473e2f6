<<<<<<< HEAD

//! The only folder that knows threads, rings and glommio.
pub mod ring;
pub mod sys;
=======
#![forbid(unsafe_code)]
//! The shell around the pure folders: threads, rings, files.

pub mod files;
>>>>>>> storage
