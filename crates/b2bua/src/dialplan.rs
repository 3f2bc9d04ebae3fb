//! What a number means in a country: its international form (ITU-T E.164), where it leads, whether it is premium rate,
//! whether it calls for help.

use std::collections::HashMap;
use std::fmt;

use phonenumber::{Mode, PhoneNumber, Type, country, metadata::DATABASE};
use types::limits;

/// A country by its ISO 3166 letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Country(country::Id);

impl Country {
    /// Reads e.g. `DE`; the sentence says what is wrong.
    pub fn parse(text: &str) -> Result<Country, String> {
        let id = text.to_ascii_uppercase().parse().map(Country);
        id.map_err(|_| format!("{text:?} is not a country of two letters, for example \"DE\""))
    }

    /// Its two letters.
    pub fn code(&self) -> &str {
        self.0.as_ref()
    }

    /// Whether this is a number for help here.
    pub fn has_emergency(self, number: &str) -> bool {
        is_emergency(number, Some(self))
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Reads the numbering plans of all countries, a fraction of a second of work that the first call would wait for.
pub fn load_number_plans() {
    let _ = Number::read("+12025550100", None);
}

/// Numbers for help besides 112 and 911, which mobile phones know everywhere (3GPP TS 22.101 §10.1).
const EMERGENCY: [(&str, &[&str]); 22] = [
    ("AT", &["122", "133", "144"]),
    ("AU", &["000"]),
    ("BE", &["100", "101"]),
    ("BR", &["190", "192", "193"]),
    ("CH", &["117", "118", "144"]),
    ("CN", &["110", "119", "120"]),
    ("CZ", &["150", "155", "158"]),
    ("DE", &["110"]),
    ("ES", &["061", "062", "080", "091"]),
    ("FR", &["15", "17", "18", "114"]),
    ("GB", &["999"]),
    ("HK", &["999"]),
    ("IE", &["999"]),
    ("IN", &["100", "101", "102", "108"]),
    ("IT", &["113", "115", "118"]),
    ("JP", &["110", "118", "119"]),
    ("KR", &["119"]),
    ("NZ", &["111"]),
    ("PL", &["997", "998", "999"]),
    ("SG", &["995", "999"]),
    ("TR", &["110", "155"]),
    ("ZA", &["10111", "10177"]),
];

/// Whether it is a number for help in this country, or everywhere.
pub(crate) fn is_emergency(number: &str, home: Option<Country>) -> bool {
    let own = |c: Country| EMERGENCY.iter().any(|(code, list)| *code == c.code() && list.contains(&number));
    matches!(number, "112" | "911") || home.is_some_and(own)
}

/// Whether it is a number for help in any country.
pub(crate) fn may_be_emergency(number: &str) -> bool {
    is_emergency(number, None) || EMERGENCY.iter().any(|(_, list)| list.contains(&number))
}

/// Where a number leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leads {
    /// No public number of the caller's country: an extension, a service code, a name.
    Private,
    To(Country),
    /// Abroad or to satellites, nobody knows where.
    Unknown,
}

/// A number, read once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Number {
    /// As dialled, without separators.
    pub raw: String,
    /// With `+` and country code, where it is a number of some country's plan.
    pub e164: Option<String>,
    pub leads: Leads,
    pub premium: bool,
    pub emergency: bool,
}

impl Number {
    /// Reads what `clean` gave, as dialled in `home`.
    pub fn read(raw: &str, home: Option<Country>) -> Number {
        let plain = Number {
            raw: raw.to_owned(),
            e164: None,
            leads: Leads::Private,
            premium: false,
            emergency: is_emergency(raw, home),
        };
        let digits = raw.strip_prefix('+').unwrap_or(raw);
        if plain.emergency || digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return plain;
        }
        let abroad =
            raw.starts_with('+') || (home.is_none() && ["00", "011"].iter().any(|p| raw.starts_with(p)));
        let unknown = if abroad { Leads::Unknown } else { Leads::Private };
        if home.is_none() && !raw.starts_with('+') {
            return Number { leads: unknown, ..plain };
        }
        let home = home.filter(|_| !raw.starts_with('+')).map(|c| c.0);
        let Ok(number) = phonenumber::parse(home, raw) else { return Number { leads: unknown, ..plain } };
        if let Some((kind, place)) = kind_and_place(&number) {
            return Number {
                e164: Some(number.format().mode(Mode::E164).to_string()),
                leads: place.map_or(Leads::Unknown, |id| Leads::To(Country(id))),
                premium: kind == Type::PremiumRate,
                ..plain
            };
        }
        // Dialled with the prefix for other countries, but no number of theirs.
        let own = |id: country::Id| {
            DATABASE.by_id(id.as_ref()).is_some_and(|m| m.country_code() == number.code().value())
        };
        let leads = if home.is_some_and(|id| !own(id)) { Leads::Unknown } else { unknown };
        Number { leads, ..plain }
    }

    /// The form to send and to compare with: the international one where there is one.
    pub fn best(&self) -> &str {
        self.e164.as_deref().unwrap_or(&self.raw)
    }
}

/// What a valid number is for, and its country. Each question about the country costs a search: valid is what has a type.
fn kind_and_place(number: &PhoneNumber) -> Option<(Type, Option<country::Id>)> {
    let kind = number.number_type(&DATABASE);
    if kind != Type::Unknown {
        return Some((kind, number.country().id()));
    }
    if number.national().zeros() == 0 {
        return None;
    }
    // The library asks without the zeros that belong to the number, as in Italy.
    let national = number.national().to_string();
    let plans = DATABASE.by_code(&number.code().value())?;
    plans.into_iter().find_map(|plan| {
        let takes = |kind: &Type| plan.descriptors().get(*kind).is_some_and(|d| d.is_match(&national));
        let kind = WITH_ZEROS.into_iter().find(takes)?;
        Some((kind, plan.id().parse().ok()))
    })
}

/// Kinds of numbers that may begin with zeros.
const WITH_ZEROS: [Type; 8] = [
    Type::PremiumRate,
    Type::FixedLine,
    Type::Mobile,
    Type::TollFree,
    Type::SharedCost,
    Type::PersonalNumber,
    Type::Voip,
    Type::Uan,
];

/// What was read lately: a country of `+1` takes a twelfth of a millisecond to find.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    known: HashMap<(String, Option<Country>), Number>,
}

impl Readings {
    /// `Number::read`, once for numbers that come again.
    pub fn read(&mut self, raw: &str, home: Option<Country>) -> Number {
        let key = (raw.to_owned(), home);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        if self.known.len() >= limits::NUMBERS_READ {
            self.known.clear();
        }
        let number = Number::read(raw, home);
        self.known.insert(key, number.clone());
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn country(code: &str) -> Option<Country> {
        Some(Country::parse(code).unwrap())
    }

    fn read(raw: &str, home: &str) -> (String, Leads) {
        let number = Number::read(raw, if home.is_empty() { None } else { country(home) });
        (number.best().to_owned(), number.leads)
    }

    #[test]
    fn each_country_dials_its_own_way_and_gets_one_form() {
        let to = |code: &str| Leads::To(country(code).unwrap());
        for (raw, home, form, leads) in [
            ("+493012345678", "", "+493012345678", to("DE")),
            ("03012345678", "DE", "+493012345678", to("DE")),
            ("00442079460000", "DE", "+442079460000", to("GB")),
            ("011442079460000", "US", "+442079460000", to("GB")),
            ("2025550100", "US", "+12025550100", to("US")),
            ("12025550100", "US", "+12025550100", to("US")),
            ("+12025550100", "DE", "+12025550100", to("US")),
            // The same country code, another country: where toll fraud calls.
            ("+18762345678", "US", "+18762345678", to("JM")),
            // The zero belongs to the number.
            ("0212345678", "IT", "+390212345678", to("IT")),
            ("100", "US", "100", Leads::Private),
            ("100", "DE", "100", Leads::Private),
            ("*43#", "DE", "*43#", Leads::Private),
            ("anna", "DE", "anna", Leads::Private),
            ("00442079460000", "", "00442079460000", Leads::Unknown),
            ("03012345678", "", "03012345678", Leads::Private),
            ("+99912345678", "DE", "+99912345678", Leads::Unknown),
        ] {
            assert_eq!(read(raw, home), (form.to_owned(), leads), "{raw} in {home:?}");
        }
    }

    #[test]
    fn premium_numbers_are_known() {
        assert!(Number::read("09001234567", country("DE")).premium);
        assert!(Number::read("+19002345678", None).premium);
        assert!(!Number::read("+493012345678", None).premium);
    }

    #[test]
    fn each_country_has_its_own_numbers_for_help_and_everyone_112_and_911() {
        let calls_help = |raw, home| Number::read(raw, country(home)).emergency;
        for (raw, home) in
            [("112", "DE"), ("110", "DE"), ("911", "DE"), ("911", "US"), ("999", "GB"), ("000", "AU")]
        {
            assert!(calls_help(raw, home), "{raw} in {home}");
        }
        for (raw, home) in [("110", "US"), ("999", "DE"), ("+49112", "DE"), ("1120", "DE")] {
            assert!(!calls_help(raw, home), "{raw} in {home}");
        }
        assert!(Number::read("112", None).emergency);
    }

    #[test]
    fn a_country_has_two_letters() {
        assert_eq!(Country::parse("de").unwrap().code(), "DE");
        assert!(Country::parse("Germany").unwrap_err().contains("two letters"));
    }
}
