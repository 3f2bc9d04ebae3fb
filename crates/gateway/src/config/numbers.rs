//! Keys about numbers: countries, and the numbers that a trunk brings us.

use b2bua::{Countries, Country, Did, Pattern, RouteTo};

use super::reader::{Findings, Section};
use super::sections::destination;

/// `country = "DE"`.
pub fn country(section: &mut Section<'_, '_>, found: &mut Findings<'_>) -> Option<Country> {
    section.string(found, "country")?.parse(found, |text| Country::parse(text))
}

/// `countries = ["US", "DE"]` or `"*"`.
pub fn countries(section: &mut Section<'_, '_>, found: &mut Findings<'_>) -> Countries {
    let Some(list) = section.strings(found, "countries") else { return Countries::Named(Vec::new()) };
    if let [one] = list.as_slice()
        && one.value == "*"
    {
        return Countries::All;
    }
    let read = |text: &String| match text.as_str() {
        "*" => Err("\"*\" allows every country and stands alone".to_owned()),
        text => Country::parse(text),
    };
    Countries::Named(list.iter().filter_map(|item| item.parse(found, read)).collect())
}

/// `dids = { "+12025550110" = "user:alice" }`.
pub fn dids(section: &mut Section<'_, '_>, found: &mut Findings<'_>) -> Vec<Did> {
    let mut out = Vec::new();
    for (number, to) in section.pairs(found, "dids") {
        let number = number.parse(found, |text| Pattern::parse(text));
        let to: Option<RouteTo> = to.parse(found, |text| destination(text));
        if let (Some(number), Some(to)) = (number, to) {
            out.push(Did { number, to });
        }
    }
    out
}
