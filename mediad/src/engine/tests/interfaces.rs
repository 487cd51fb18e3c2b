//! Legs on named interfaces: two addresses of loopback.

use super::*;

const INTERFACES: &str = "[[media.interfaces]]\nname = \"inside\"\naddress = \"127.0.0.2\"\n\
                          [[media.interfaces]]\nname = \"outside\"\naddress = \"127.0.0.3/192.0.2.10\"\n\
                          [[media.interfaces]]\nname = \"shown\"\naddress = \"127.0.0.1/192.0.2.11\"\n";

fn on(interface: Option<&str>, remote: Option<Remote>) -> Leg {
    Leg {
        family: Family::V4,
        port: None,
        remote,
        muted: false,
        handling: Handling {
            interface: interface.map(str::to_owned),
            ..Handling::default()
        },
    }
}

fn between(a: Leg, b: Leg) -> Create {
    Create {
        id: session(1),
        owner: "test".into(),
        a,
        b,
        apart: false,
    }
}

async fn a_call_goes_from_one_interface_to_another(datapath: &str) {
    let bed = Bed::with(datapath, 40, INTERFACES).await;
    let (mut alice, mut bob) = (Party::on("127.0.0.2", 1), Party::on("127.0.0.3", 2));
    let create = between(
        on(Some("inside"), Some(alice.described())),
        on(Some("outside"), Some(bob.described())),
    );
    let info = bed.create_with(create.clone()).await.unwrap();
    assert_eq!(info.a.rtp.ip().to_string(), "127.0.0.2");
    assert_eq!(
        info.b.rtp.ip().to_string(),
        "192.0.2.10",
        "what the party is told"
    );
    let bound = SocketAddr::new("127.0.0.3".parse().unwrap(), info.b.rtp.port());
    let sent = alice.send(info.a.rtp);
    assert_eq!(bob.receive(), (sent, bound));
    let sent = bob.send(bound);
    assert_eq!(alice.receive(), (sent, info.a.rtp));
    // A port is of one address: nothing is open beside it.
    assert!(UdpSocket::bind(("127.0.0.1", info.a.rtp.port())).is_ok());
    assert_eq!(bed.create_with(create).await.unwrap(), info, "asked again");
}

async fn an_interface_may_show_the_same_address_as_another_one(datapath: &str) {
    let bed = Bed::with(datapath, 40, INTERFACES).await;
    let create = between(on(None, None), on(Some("shown"), None));
    let info = bed.create_with(create).await.unwrap();
    assert_eq!(info.a.rtp.ip().to_string(), "127.0.0.1");
    assert_eq!(info.b.rtp.ip().to_string(), "192.0.2.11");
    assert_ne!(
        info.a.rtp.port(),
        info.b.rtp.port(),
        "both are bound to 127.0.0.1"
    );
}

#[tokio::test]
async fn an_interface_that_is_not_there_is_refused_by_name() {
    let bed = Bed::with("sockets", 40, INTERFACES).await;
    let create = between(on(None, None), on(Some("outsite"), None));
    let fault = bed.create_with(create).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Invalid);
    let words = "this node has no media interface 'outsite', but default, inside, outside, shown";
    assert_eq!(fault.message, words);
    let mut six = on(Some("inside"), None);
    six.family = Family::V6;
    let fault = bed
        .create_with(between(on(None, None), six))
        .await
        .unwrap_err();
    assert_eq!(fault.code, FaultCode::Unsupported);
    assert!(fault.message.contains("'inside'"), "{}", fault.message);
    assert_eq!(bed.engine.status().ports_used, 0);
}

on_both_backends! {
    a_call_goes_from_one_interface_to_another;
    an_interface_may_show_the_same_address_as_another_one;
}
