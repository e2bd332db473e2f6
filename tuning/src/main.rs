#![forbid(unsafe_code)]
//! The binary: everything is in the library, where tests reach it.

fn main() -> std::process::ExitCode {
    ringkeeper_tuning::cli::main()
}
