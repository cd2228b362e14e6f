//! Tests of an agent without a server.

use super::*;
use crate::fleet::message::{FinalReport, decode, sign};
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
async fn an_agent_drops_only_the_run_that_a_release_names() {
    let key = KeyPair::new_user();
    let mut agent = prepared(&key).await;
    let release = |run: &str| AgentOrder::Release { run: run.to_owned() };
    let signed = |order| sign(&AgentCommand { agent: "a".to_owned(), nonce: 7, order }, &key);
    let stop = agent.work.as_ref().unwrap().stop.subscribe();
    // Neither a shard that has not started nor a load is that of the other run.
    for load in [None, Some(mpsc::unbounded_channel().1)] {
        agent.work.as_mut().unwrap().load = load;
        let answer = agent.command(&signed(release("other")), None).await;
        assert_eq!(answer, Some(AgentAnswer::Refused("it is busy with run r".to_owned())));
        assert!(agent.work.is_some() && *stop.borrow() == Stop::Run);
    }
    assert_eq!(agent.command(&signed(release("r")), None).await, Some(AgentAnswer::Done));
    assert_eq!(*stop.borrow(), Stop::Now);
    agent.work.as_mut().unwrap().load = None;
    assert_eq!(agent.command(&signed(release("r")), None).await, Some(AgentAnswer::Done));
    assert!(agent.work.is_none());
}

#[tokio::test]
async fn message_files_outlive_the_release_of_another_run() {
    let key = KeyPair::new_user();
    let spool = tempfile::tempdir().unwrap();
    let mut agent = prepared(&key).await;
    (agent.work, agent.settings.spool) = (None, spool.path().to_owned());
    assert_eq!(agent.announce("r", Vec::new()), AgentAnswer::Done);
    assert_eq!(agent.release("other"), AgentAnswer::Done);
    assert!(agent.files.is_some());
    assert_eq!(agent.release("r"), AgentAnswer::Done);
    assert!(agent.files.is_none());
}

#[tokio::test]
async fn a_load_that_ends_without_a_result_is_reported_as_an_error() {
    let mut agent = prepared(&KeyPair::new_user()).await;
    let (outgoing, mut reports) = mpsc::unbounded_channel();
    let work = agent.work.as_mut().unwrap();
    // The thread of the load has ended, and with it its end of the channel.
    (work.load, work.outgoing) = (Some(mpsc::unbounded_channel().1), Some(outgoing));
    let AtWork::Load(event) = next(&mut agent.work).await else { panic!("there is no lease") };
    agent.report(event).await;
    let report = reports.recv().await.unwrap();
    let why = decode::<FinalReport>(&report.bytes).unwrap().measured.err().unwrap();
    assert!(report.is_last && why.contains("ended without a result"), "{why}");
    assert_eq!(agent.state, AgentState::Reporting);
    let more = tokio::time::timeout(Duration::from_millis(20), next(&mut agent.work)).await;
    assert!(more.is_err(), "nothing more is awaited");
}

#[tokio::test]
async fn an_agent_that_is_stopped_on_its_own_machine_says_so_in_its_last_report() {
    for (asked, is_ended_there) in [(Stop::Run, true), (Stop::Drain, true), (Stop::Now, false)] {
        let mut agent = prepared(&KeyPair::new_user()).await;
        let (outgoing, mut reports) = mpsc::unbounded_channel();
        let work = agent.work.as_mut().unwrap();
        work.outgoing = Some(outgoing);
        work.stop.send_replace(asked);
        agent.stop_here();
        assert_eq!(*agent.work.as_ref().unwrap().stop.borrow(), Stop::Now);
        agent.report(FromLoad::Over(Box::new(Ok(Measured::default())))).await;
        let last: FinalReport = decode(&reports.recv().await.unwrap().bytes).unwrap();
        assert_eq!(last.is_ended_there, is_ended_there, "{asked:?}");
        assert_eq!(last.is_cut_short_by().is_some(), is_ended_there, "{asked:?}");
    }
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
