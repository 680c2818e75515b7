//! The program: its command line, and what answers it.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
