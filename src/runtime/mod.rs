
//! The only folder that knows threads, rings and glommio.
pub mod ring;
pub mod sys;
