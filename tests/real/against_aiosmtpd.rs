//! Against aiosmtpd, a library of a listener that differs from other listeners in many rules.

use crate::aiosmtpd::Aiosmtpd;
use crate::smtpress;

// Table: aiosmtpd: SMTP, PROXY
#[test]
fn accepted_is_what_aiosmtpd_took_from_whom_the_proxy_header_says() {
    let Some(aiosmtpd) = Aiosmtpd::start() else { return };
    for version in ["v1", "v2"] {
        let before = aiosmtpd.taken();
        let flags =
            format!("-c 5 -n 100 --set target.sources=[\"127.0.3.0/24\"] --set target.proxy={version}");
        let outcome = smtpress::run(aiosmtpd.proxied, &flags);
        outcome.assert_counts_reconcile();
        assert_eq!((outcome.count("accepted"), aiosmtpd.taken() - before), (100, 100));
        assert_eq!(aiosmtpd.taken_with(" source=127.0.3."), aiosmtpd.taken());
    }
}
