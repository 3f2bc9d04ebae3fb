//! The phone page and the SDK, embedded in the binary.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use super::App;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! asset {
    ($path:literal) => {
        include_str!(concat!("../../web/", $path))
    };
}

const ASSETS: &[(&str, &str, &str)] = &[
    ("/", HTML, asset!("index.html")),
    ("/phone.css", CSS, asset!("phone.css")),
    ("/phone.js", JS, asset!("phone.js")),
    ("/view.js", JS, asset!("view.js")),
    ("/plot.js", JS, asset!("plot.js")),
    ("/keypad.js", JS, asset!("keypad.js")),
    ("/ringtone.js", JS, asset!("ringtone.js")),
    ("/icon.svg", SVG, asset!("icon.svg")),
    ("/sdk/call.js", JS, asset!("sdk/call.js")),
    ("/sdk/errors.js", JS, asset!("sdk/errors.js")),
    ("/sdk/meter.js", JS, asset!("sdk/meter.js")),
    ("/sdk/webtrunk.js", JS, asset!("sdk/webtrunk.js")),
];

pub fn routes() -> Router<Arc<App>> {
    ASSETS.iter().fold(Router::new(), |router, (path, kind, text)| {
        let asset = move || async move {
            ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")], *text).into_response()
        };
        router.route(path, get(asset))
    })
}
