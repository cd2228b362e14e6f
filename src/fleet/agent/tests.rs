//! Tests of an agent without a server.

use super::*;
use crate::fleet::message::sign;
use crate::fleet::spool;
use crate::fleet::spool::WaitingReport;
use crate::plan::PlanPart;

/// Returns an agent with a shard that it can run.
async fn prepared(key: &KeyPair) -> Agent {
    let bus = Bus::offline().await;
    let settings = AgentSettings {
        name: "a".to_owned(),
        host: "h".to_owned(),
        program: "0".to_owned(),
        coordinator: KeyPair::from_public_key(&key.public_key()).unwrap(),
        spool: PathBuf::new(),
        prepare: Arc::new(|_, _| Err(String::new())),
        receive: Arc::new(|_, _| Err(String::new())),
        say: Arc::new(|_| {}),
        draw: Arc::new(|| 7),
    };
    let spec = RunSpec {
        run: "r".to_owned(),
        profile: String::new(),
        shard: (0, 1),
        date: String::new(),
        embedded: None,
        part: PlanPart::Run,
        lists_transactions: false,
    };
    let control = bus.client.subscribe(subject::control("r")).await.unwrap();
    let work = ShardAtWork::new(spec, None, control);
    Agent {
        settings,
        bus,
        zero: clock::now(),
        nonce: 7,
        state: AgentState::Prepared,
        work: Some(work),
        files: None,
        receiving: None,
        stored: mpsc::unbounded_channel(),
    }
}

#[tokio::test]
async fn an_agent_that_is_asked_for_its_time_keeps_its_shard() {
    let key = KeyPair::new_user();
    let mut agent = prepared(&key).await;
    let before = agent.deadline().unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let ping = AgentCommand { agent: "a".to_owned(), nonce: 7, order: AgentOrder::Ping };
    let answer = agent.command(&sign(&ping, &key), None).await;
    assert!(matches!(answer, Some(AgentAnswer::Pong { .. })), "{answer:?}");
    assert!(agent.deadline().unwrap() >= before + Duration::from_millis(20));
    // A load needs leases.
    agent.state = AgentState::Running;
    let heard = agent.work.as_ref().unwrap().heard;
    tokio::time::sleep(Duration::from_millis(20)).await;
    agent.command(&sign(&ping, &key), None).await;
    assert_eq!(agent.work.as_ref().unwrap().heard, heard);
}

#[tokio::test]
async fn a_folder_without_reports_is_no_shard_and_is_removed() {
    let root = tempfile::tempdir().unwrap();
    drop(Spool::open(root.path(), "r", 0, "a").unwrap());
    assert_eq!(
        spool::waiting(root.path()).unwrap(),
        [(("r".to_owned(), 0, "a".to_owned()), Vec::<WaitingReport>::new())]
    );
    assert_eq!(deliver_spool(&Bus::offline().await, root.path(), None).await.unwrap(), 0);
    assert_eq!(spool::waiting(root.path()).unwrap(), []);
}
