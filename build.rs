//! Tells the linker where the program begins: in `src/sys/entry.rs`, which goes on to the C library's `_start`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-Wl,--entry=teu_entry");
}
