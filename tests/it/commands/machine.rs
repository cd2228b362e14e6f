//! Machines that refuse an option of a socket: the session continues without the option, and this is reported.

use std::process::Command;

use super::stage::Stage;

/// A preloaded library that refuses one option of sockets, as some sandboxes and old kernels do.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    const char *refused = getenv("REFUSED_OPTION");
    if (refused && level == atoi(refused) / 1000 && name == atoi(refused) % 1000) {
        errno = atoi(refused) / 1000 == 6 ? EPERM : ENOPROTOOPT;
        return -1;
    }
    int (*next)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, "setsockopt");
    return next(fd, level, name, value, length);
}
"#;

/// The options TCP_NODELAY of IPPROTO_TCP and IP_BIND_ADDRESS_NO_PORT of IPPROTO_IP on Linux: the level times a thousand,
/// and the name.
const NO_DELAY: &str = "6001";
const NO_PORT: &str = "0024";

#[test]
fn an_option_of_sockets_that_is_refused_is_done_without() {
    let stage = Stage::new();
    stage.put("shim.c", SHIM);
    let (source, library) = (stage.path("shim.c"), stage.path("shim.so"));
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl").status();
    assert!(built.is_ok_and(|built| built.success()), "a C compiler, which the build needs as well");
    let sources = "target.sources=[\"127.0.0.2-127.0.0.5\"]";
    let run = ["run", "few.toml", "--set", sources, "--json", "run.json"];
    let preload = ("LD_PRELOAD", library.to_str().unwrap());
    for (refused, told, code) in
        [(NO_DELAY, Some("TCP_NODELAY"), 0), (NO_PORT, Some("IP_BIND_ADDRESS_NO_PORT"), 0), ("9999", None, 0)]
    {
        let said = stage.run_with(&[preload, ("REFUSED_OPTION", refused)], &run).ended(code);
        let result = stage.json("run.json");
        assert_eq!(result["phases"][0]["accepted"], 50, "{}", said.out);
        let warnings = result["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), usize::from(told.is_some()), "{warnings:?}");
        if let Some(told) = told {
            assert!(warnings[0].as_str().unwrap().contains(told) && said.out.contains(told), "{}", said.out);
        }
    }
    let traced =
        stage.run_with(&[preload, ("REFUSED_OPTION", NO_DELAY)], &["trace", "embedded"]).ended(0).out;
    assert!(traced.contains("TCP_NODELAY"), "{traced}");
}
