#![forbid(unsafe_code)]
//! The `ringkeeper` binary: calls [`ringkeeper::cli::main`], nothing else.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ringkeeper::cli::main()
}
