//! A line of an export as an event.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::DateTime;
use rowbus::{Headers, Publish, Subject};
use serde_json::{Map, Value};

/// What to publish, and when it was published, in Unix milliseconds.
pub(super) type Line = (Publish, i64);

/// What `sub --json` says beside what `export` says; sequences are given anew.
const IGNORED: [&str; 3] = ["sequence", "attempt", "redelivered"];

pub(super) fn parse(line: &[u8], limit: usize) -> Result<Line, String> {
    let text = std::str::from_utf8(line).map_err(|_| "it is no UTF-8 text")?;
    let Value::Object(mut fields) = serde_json::from_str(text.trim_end()).map_err(no_json)? else {
        return Err("it is no JSON object".to_owned());
    };
    if fields.contains_key("redacted") {
        return Err("it is redacted, and its content is gone".to_owned());
    }
    if fields.contains_key("died_at") {
        return Err("it is a dead letter; only events can be imported".to_owned());
    }
    let subject = Subject::new(&text_of(&mut fields, "subject")?.ok_or("it has no \"subject\"")?);
    let subject = subject.map_err(|error| error.to_string())?;
    let time = time(&mut fields)?;
    let payload = payload(&mut fields)?;
    let mut publish = Publish::new(subject, payload).headers(headers(fields.remove("headers"))?);
    if let Some(id) = text_of(&mut fields, "message_id")? {
        publish = publish.message_id(id);
    }
    if let Some(name) = fields.keys().find(|name| !IGNORED.contains(&name.as_str())) {
        return Err(format!("it has a field {name:?}, of which nothing is known"));
    }
    let checked = publish.clone().into_parts().and_then(|parts| parts.check_size(limit));
    checked.map_err(|error| error.to_string())?;
    Ok((publish, time))
}

/// What is wrong with it, and in which column: serde counts lines from the beginning of this one.
fn no_json(error: serde_json::Error) -> String {
    let said = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    format!("it is no JSON: {}, in column {}", said.strip_suffix(&place).unwrap_or(&said), error.column())
}

fn text_of(fields: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match fields.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("its {name:?} is no text")),
    }
}

fn time(fields: &mut Map<String, Value>) -> Result<i64, String> {
    match (text_of(fields, "time")?, fields.remove("millis")) {
        (Some(time), None) => {
            let time = DateTime::parse_from_rfc3339(&time);
            time.map(|time| time.timestamp_millis())
                .map_err(|_| "its \"time\" is none as in 2026-11-23T07:05:00.250Z".to_owned())
        }
        (None, Some(millis)) => millis.as_i64().ok_or_else(|| "its \"millis\" is no whole number".to_owned()),
        (None, None) => Err("it has no \"time\"".to_owned()),
        (Some(_), Some(_)) => Err("it has a \"time\" and \"millis\"".to_owned()),
    }
}

fn payload(fields: &mut Map<String, Value>) -> Result<Vec<u8>, String> {
    match (text_of(fields, "data")?, text_of(fields, "data_base64")?) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(base64)) => {
            BASE64_STANDARD.decode(base64).map_err(|error| format!("its \"data_base64\" is none: {error}"))
        }
        (None, None) => Err("it has no \"data\" or \"data_base64\"".to_owned()),
        (Some(_), Some(_)) => Err("it has \"data\" and \"data_base64\"".to_owned()),
    }
}

fn headers(field: Option<Value>) -> Result<Headers, String> {
    const LOOKS_LIKE: &str = "its \"headers\" are none as in [[\"Name\",\"value\"]]";
    let mut headers = Headers::new();
    let Some(field) = field else { return Ok(headers) };
    for pair in field.as_array().ok_or(LOOKS_LIKE)? {
        let Some([Value::String(name), Value::String(value)]) = pair.as_array().map(Vec::as_slice) else {
            return Err(LOOKS_LIKE.to_owned());
        };
        headers.append(name, value).map_err(|error| error.to_string())?;
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> String {
        parse(line.as_bytes(), 8).map(|_| ()).unwrap_err()
    }

    #[test]
    fn what_is_wrong_is_said() {
        let time = "\"time\":\"2026-11-23T07:05:00.250Z\"";
        let with = |rest: &str| refused(&format!("{{\"subject\":\"a\",{time}{rest}}}"));
        assert_eq!(refused("{\n"), "it is no JSON: EOF while parsing an object, in column 1");
        assert_eq!(refused("no"), "it is no JSON: expected ident, in column 2");
        assert_eq!(refused("[]"), "it is no JSON object");
        assert_eq!(refused("{\"data\":\"\"}"), "it has no \"subject\"");
        assert!(refused("{\"subject\":\"a..b\"}").contains("token 2 is empty"));
        assert_eq!(refused("{\"subject\":\"a\",\"data\":\"\"}"), "it has no \"time\"");
        assert_eq!(with(""), "it has no \"data\" or \"data_base64\"");
        assert!(with(",\"data_base64\":\"/w=\"").starts_with("its \"data_base64\" is none"));
        assert!(with(",\"data\":\"\",\"headers\":{}").contains("[[\"Name\",\"value\"]]"));
        assert!(with(",\"data\":\"\",\"headers\":[[\"a b\",\"\"]]").contains("header name"));
        assert!(with(",\"data\":\"123456789\"").contains("at most 8"));
        assert!(with(",\"data\":\"\",\"dta\":1").contains("\"dta\""));
        assert!(with(",\"redacted\":true").contains("redacted"));
        assert!(with(",\"died_at\":\"\"").contains("dead letter"));
    }

    #[test]
    fn times_of_any_zone_and_beyond_the_calendar_are_read() {
        let at = |time: &str| {
            parse(format!("{{\"subject\":\"a\",{time},\"data\":\"\"}}").as_bytes(), 8).unwrap().1
        };
        assert_eq!(at("\"time\":\"2026-11-23T08:05:00.25+01:00\""), 1_795_417_500_250);
        assert_eq!(at("\"millis\":-9223372036854775808"), i64::MIN);
    }
}
