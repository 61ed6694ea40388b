//! SOAP `login()`, kept so that old clients can connect (SOAP guide: login). Nothing else of the SOAP API is here.

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::org::state::{INTEGRATION, State};
use crate::rest::{Call, Reply, auth};

const XML: &str = "text/xml;charset=UTF-8";
const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";

/// `POST /services/Soap/u/<version>`.
pub(crate) fn login(state: &mut State, call: &Call) -> Reply {
    let Some((username, password)) = credentials(&call.body) else {
        return fault("UNKNOWN_EXCEPTION", "only login() is served here");
    };
    if !auth::password_ok(state, &username, &password) {
        return fault(
            "INVALID_LOGIN",
            "Invalid username, password, security token; or user locked out.",
        );
    }
    let token = auth::open_session(state);
    let version = call.path.rsplit('/').next().unwrap_or("66.0");
    let (url, org, user) = (&state.url, &state.org_id, &state.integration_user);
    Reply::raw(
        200,
        XML,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope xmlns:soapenv=\"{ENVELOPE}\" \
             xmlns=\"urn:partner.soap.sforce.com\"><soapenv:Body><loginResponse><result>\
             <passwordExpired>false</passwordExpired><sandbox>true</sandbox>\
             <serverUrl>{url}/services/Soap/u/{version}/{org}</serverUrl><sessionId>{token}</sessionId>\
             <userId>{user}</userId><userInfo><organizationId>{org}</organizationId>\
             <userFullName>{INTEGRATION}</userFullName><userId>{user}</userId></userInfo>\
             </result></loginResponse></soapenv:Body></soapenv:Envelope>"
        ),
    )
}

fn fault(code: &str, message: &str) -> Reply {
    Reply::raw(
        500,
        XML,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope xmlns:soapenv=\"{ENVELOPE}\" \
             xmlns:sf=\"urn:fault.partner.soap.sforce.com\"><soapenv:Body><soapenv:Fault>\
             <faultcode>{code}</faultcode><faultstring>{code}: {message}</faultstring><detail>\
             <sf:LoginFault><sf:exceptionCode>{code}</sf:exceptionCode><sf:exceptionMessage>{message}\
             </sf:exceptionMessage></sf:LoginFault></detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>"
        ),
    )
}

/// User name and password of a `login` request.
fn credentials(body: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(body).ok()?;
    let mut reader = Reader::from_str(text);
    let (mut element, mut username, mut password) = (Vec::new(), None::<String>, None::<String>);
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => element = start.local_name().as_ref().to_vec(),
            Event::End(_) => element.clear(),
            Event::Text(text) => add(&element, &text.decode().ok()?, &mut username, &mut password),
            Event::CData(text) => add(&element, &text.decode().ok()?, &mut username, &mut password),
            Event::GeneralRef(name) => {
                let character = match name.resolve_char_ref().ok()? {
                    Some(character) => character.to_string(),
                    None => quick_xml::escape::resolve_predefined_entity(&name.decode().ok()?)?
                        .to_owned(),
                };
                add(&element, &character, &mut username, &mut password);
            }
            Event::Eof => return Some((username?, password?)),
            _ => {}
        }
    }
}

fn add(element: &[u8], text: &str, username: &mut Option<String>, password: &mut Option<String>) {
    let target = match element {
        b"username" => username,
        b"password" => password,
        _ => return,
    };
    target.get_or_insert_default().push_str(text);
}
