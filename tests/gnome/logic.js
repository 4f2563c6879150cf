// Facts about the extension's logic, which needs no shell. Run by gjs -m; prints {name: what is wrong, or ""} as JSON.
import GLib from 'gi://GLib';
import System from 'system';

import * as Asked from '../../contrib/gnome-shell/src/asked.js';
import {read} from '../../contrib/gnome-shell/src/model.js';
import {Questions} from '../../contrib/gnome-shell/src/questions.js';
import {fill, harmless} from '../../contrib/gnome-shell/src/text.js';
import * as Words from '../../contrib/gnome-shell/src/words.js';

const VM = '/org/virtcard1/domain/1';
const OTHER = '/org/virtcard1/domain/2';
const RUNNING = {Name: 'win11', Uuid: 'u1', Id: 3, Enabled: true, Live: true, Mode: 'bridge', LastError: ''};
const QUESTION = {
    id: '1', uuid: 'u1', domain: 'win11', source: 'card:jane', operation: 'insert',
    choices: ['once', 'time', 'session', 'always', 'deny'], seconds: 600, patience: 60,
};

function equal(found, wanted) {
    if (JSON.stringify(found) !== JSON.stringify(wanted))
        throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(wanted)}`);
}

function objects(domain, bridge = null, ...cards) {
    const all = [[VM, {'org.virtcard1.Domain': domain}]];
    if (bridge)
        all.push(['/org/virtcard1/bridge/1_0', {'org.virtcard1.Bridge': {Domain: VM, LastError: '', ...bridge}}]);
    cards.forEach((card, index) => {
        const kind = card.Type === undefined ? 'Reader' : 'Card';
        all.push([`/org/virtcard1/${kind.toLowerCase()}/${index}`, {[`org.virtcard1.${kind}`]: card}]);
    });
    return new Map(all);
}

function machine(...parts) {
    return read(objects(...parts)).machines[0];
}

// Questions on a screen that a test looks at.
function screen() {
    const shown = [];
    const questions = new Questions((question, answer) => {
        const one = {question, answer, gone: false};
        shown.push(one);
        return () => (one.gone = true);
    });
    const answers = [];
    const ask = (changes = {}, asker = 'daemon') =>
        questions.ask(asker, Asked.question({...QUESTION, ...changes}), choice => answers.push(choice));
    return {questions, shown, answers, ask};
}

const FACTS = {
    only_machines_with_a_virtual_reader_are_shown() {
        equal(read(objects({...RUNNING, Enabled: false, Live: false})).machines, []);
        equal(read(objects({...RUNNING, Enabled: false})).machines.length, 1);
    },

    a_machine_is_what_its_bridge_is() {
        const states = ['connecting', 'greeting', 'empty', 'inserting', 'inserted', 'ejecting', 'failed', 'closed'];
        equal(states.map(State => machine(RUNNING, {State}).state),
            ['waiting', 'waiting', 'empty', 'inserting', 'inserted', 'ejecting', 'failed', 'failed']);
        equal(machine(RUNNING).state, 'waiting');
        equal(machine(RUNNING, {State: 'a word of a later version'}).state, 'waiting');
    },

    a_machine_may_be_off_or_wait_for_its_reader_or_have_its_cards_elsewhere() {
        equal(machine({...RUNNING, Id: -1}).state, 'off');
        equal(machine({...RUNNING, Live: false}).state, 'pending');
        equal(machine({...RUNNING, Mode: 'spice'}).state, 'elsewhere');
    },

    running_machines_come_first() {
        const map = objects({...RUNNING, Name: 'alpha', Id: -1});
        map.set(OTHER, {'org.virtcard1.Domain': {...RUNNING, Name: 'zulu'}});
        equal(read(map).machines.map(each => each.name), ['zulu', 'alpha']);
    },

    it_is_active_only_while_a_card_is_in() {
        equal(machine(RUNNING, {State: 'inserted', Active: true}).active, true);
        equal(machine(RUNNING, {State: 'inserted', Active: false}).active, false);
        equal(machine(RUNNING, {State: 'empty', Active: true}).active, false);
        equal(machine(RUNNING, {State: 'inserted'}).active, false);
    },

    the_card_in_a_machine_is_the_reader_or_card_that_it_uses() {
        const reader = {Name: 'Yubico YubiKey OTP+FIDO+CCID 00 00', Present: true, Domains: [VM]};
        equal(machine(RUNNING, {State: 'inserted', Source: 'reader:Yubico*'}, reader).card.name,
            'Yubico YubiKey OTP+FIDO+CCID');
        const card = {Name: 'jane', Type: 'piv', Domains: [VM]};
        equal(machine(RUNNING, {State: 'inserted', Source: 'card:jane'}, card).card.source, 'card:jane');
        equal(machine(RUNNING, {State: 'inserted', Source: 'vpicc:5000'}).card.name, 'vpicc:5000');
        equal(machine(RUNNING, {State: 'empty', Source: ''}).card, null);
    },

    every_reader_of_a_machine_is_shown_with_its_own_card() {
        const map = objects(RUNNING, {State: 'inserted', Source: 'card:jane', Slot: 1},
            {Name: 'jane', Type: 'piv', Domains: [VM]}, {Name: 'Key', Present: true, Domains: [VM]});
        equal(read(map).machines.map(each => [each.name, each.slot, each.card.name]), [['win11', 1, 'jane']]);
        map.set('/org/virtcard1/bridge/1_3', {
            'org.virtcard1.Bridge': {Domain: VM, State: 'inserted', Source: 'reader:Key', Slot: 3},
        });
        map.set('/org/virtcard1/bridge/1_2', {
            'org.virtcard1.Bridge': {Domain: VM, State: 'empty', Source: '', Slot: 2},
        });
        equal(read(map).machines.map(each => [each.name, each.slot, each.card?.name ?? '']),
            [['win11, reader 1', 1, 'jane'], ['win11, reader 2', 2, ''], ['win11, reader 3', 3, 'Key']]);
        equal(new Set(read(map).machines.map(each => each.key)).size, 3);
    },

    a_machine_with_a_hot_plugged_reader_alone_is_shown() {
        equal(machine({...RUNNING, Enabled: false, Live: false}, {State: 'empty', Slot: 1}).state, 'empty');
    },

    a_reader_is_inserted_by_its_full_name() {
        const {cards} = read(objects(RUNNING, null, {Name: 'A [B] 00 00', Present: true, Domains: []}));
        equal([cards[0].source, cards[0].name], ['reader:A [B] 00 00', 'A [B]']);
    },

    two_readers_of_a_kind_keep_their_numbers() {
        const {cards} = read(objects(RUNNING, null,
            {Name: 'Key 00 00', Present: true, Domains: []}, {Name: 'Key 01 00', Present: true, Domains: []}));
        equal(cards.map(card => card.name), ['Key 00 00', 'Key 01 00']);
    },

    an_empty_reader_and_a_damaged_card_are_not_offered() {
        const {cards} = read(objects(RUNNING, null,
            {Name: 'Key', Present: false, Domains: []}, {Name: 'jane', Type: '', Domains: []}));
        equal(cards, []);
    },

    objects_of_another_version_are_taken_as_they_are() {
        equal(read(new Map([['/x', {'org.virtcard1.Later': {}}], [VM, {'org.virtcard1.Domain': {}}]])).machines, []);
        equal(read(objects({Enabled: true})).machines[0].state, 'off');
    },

    names_cannot_pretend_to_be_anything_else() {
        equal(harmless('a\nb\u202ec\u0000'), 'a\ufffdb\ufffdc\ufffd');
        equal(harmless('say "yes"'), "say 'yes'");
        equal([...harmless('x'.repeat(200))].length, 80);
        equal([...harmless('\u{1f4b3}'.repeat(80))].length, 80);
        equal(machine({...RUNNING, Name: 'a\nb'}).name, 'a\ufffdb');
    },

    a_name_is_filled_in_once() {
        equal(fill('{a} {b} {c}', {a: '{b}', b: 'x'}), '{b} x {c}');
        equal(fill('{a}', {a: '$& $1'}), '$& $1');
    },

    a_question_has_three_buttons_at_most() {
        equal(Asked.question(QUESTION).choices, ['deny', 'once', 'always']);
        equal(Asked.question({...QUESTION, choices: ['once', 'time', 'session']}).choices, ['deny', 'once', 'session']);
        equal(Asked.question({...QUESTION, choices: ['once', 'later-word']}).choices, ['deny', 'once']);
    },

    what_cannot_be_asked_is_no_question() {
        const wrong = [
            {id: 1}, {domain: undefined}, {source: null}, {operation: []}, {choices: 'once'}, {choices: ['deny']},
            {choices: []}, {patience: 0}, {patience: -1}, {patience: 'long'},
        ];
        equal(wrong.map(change => Asked.question({...QUESTION, ...change})), wrong.map(() => null));
        equal(Asked.question({...QUESTION, choices: ['time'], seconds: 0}), null);
        equal(Asked.question({...QUESTION, patience: 1e9}).patience, 600);
    },

    names_in_questions_are_harmless_and_short() {
        const {domain, source} = Asked.question({...QUESTION, domain: 'a\nb', source: 'reader:Key "1"'});
        equal([domain, source], ['a\ufffdb', "Key '1'"]);
    },

    a_notice_has_words_or_is_passed_over() {
        const told = Asked.notice({kind: 'pin-guard', domain: 'win11', source: 'reader:Key', uuid: 'u1'});
        equal(Words.notice(told).body, 'No more PINs of “win11” reach “Key”: its last tries are yours.');
        equal(Words.notice({...told, kind: 'locked-eject'}).title, 'A smart card was taken out');
        equal(Words.notice({...told, kind: 'later-word'}), null);
        equal(Asked.notice({kind: 'pin-guard'}), null);
    },

    times_have_the_largest_unit_that_fits() {
        const words = [1, 60, 90, 600, 3600, 86_400, 172_800].map(seconds => Words.button('time', {seconds}));
        equal(words, ['For 1 second', 'For 1 minute', 'For 90 seconds', 'For 10 minutes', 'For 1 hour', 'For 1 day',
            'For 2 days']);
    },

    every_operation_has_a_sentence() {
        const operations = ['insert', 'pin', 'sign', 'decrypt', 'later-word'];
        const bodies = operations.map(operation => Words.questionBody(Asked.question({...QUESTION, operation})));
        equal(new Set(bodies).size, 5);
        equal(bodies.every(body => body.includes('“win11”') && body.includes('“jane”')), true);
        equal(bodies[4].includes('later-word'), true);
        equal(operations.every(operation => !Words.questionTitle({operation}).includes('win11')), true);
    },

    one_question_is_on_the_screen_at_a_time() {
        const {shown, answers, ask} = screen();
        ask({id: '1'});
        ask({id: '2'});
        equal(shown.length, 1);
        shown[0].answer('once');
        equal([shown.length, shown[0].gone, shown[1].question.id], [2, true, '2']);
        shown[1].answer('deny');
        equal(answers, ['once', 'deny']);
    },

    an_answer_counts_once_and_must_have_been_offered() {
        const {shown, answers, ask} = screen();
        ask({choices: ['once']});
        shown[0].answer('always');
        shown[0].answer('once');
        equal(answers, ['deny']);
    },

    a_question_that_is_taken_back_leaves_the_screen_and_the_next_one_comes() {
        const {questions, shown, answers, ask} = screen();
        ask({id: '1'});
        ask({id: '2'});
        ask({id: '3'});
        questions.cancel('daemon', '1');
        equal([shown[0].gone, shown[1].question.id, answers], [true, '2', ['deny']]);
        questions.cancel('daemon', '3');
        questions.cancel('daemon', '3');
        questions.cancel('another', '2');
        equal([shown.length, shown[1].gone, answers.length], [2, false, 2]);
    },

    a_daemon_that_goes_takes_its_questions_along_and_no_others() {
        const {questions, shown, answers, ask} = screen();
        ask({id: '1'}, 'system');
        ask({id: '1'}, 'session');
        questions.cancelAll('system');
        equal([shown[0].gone, shown[1].gone, answers], [true, false, ['deny']]);
    },

    the_end_is_a_no_to_everything() {
        const {questions, shown, answers, ask} = screen();
        ask({id: '1'});
        ask({id: '2'});
        questions.stop();
        equal([answers, shown.length, shown[0].gone], [['deny', 'deny'], 1, true]);
    },

    a_question_is_over_when_nobody_waits_for_its_answer() {
        const {shown, answers, ask} = screen();
        ask({patience: 1});
        const context = GLib.MainContext.default();
        while (!answers.length)
            context.iteration(true);
        equal([answers, shown[0].gone], [['deny'], true]);
    },

    a_click_answers_the_question_about_just_that() {
        const {questions, shown, answers, ask} = screen();
        const release = questions.expect('u1', 'card:jane');
        ask();
        equal([answers, shown.length], [['once'], 0]);
        ask({operation: 'sign'});
        ask({source: 'card:john'});
        ask({uuid: 'u2'});
        equal(answers.length, 1);
        release();
        ask();
        equal(answers.length, 1);
    },

    a_click_says_no_more_than_once() {
        const {questions, shown, ask} = screen();
        questions.expect('u1', 'card:jane');
        ask({choices: ['session']});
        equal(shown.length, 1);
    },

    the_toggle_says_what_there_is() {
        const inserted = {state: 'inserted', active: false};
        equal(Words.summary([]), 'None inserted');
        equal(Words.summary([inserted, {state: 'empty'}]), '1 inserted');
        equal(Words.summary([inserted, {state: 'inserted', active: true}]), 'In use');
    },
};

const results = {};
for (const [name, check] of Object.entries(FACTS)) {
    try {
        check();
        results[name] = '';
    } catch (error) {
        results[name] = `${error.message}\n${error.stack}`;
    }
}
print(JSON.stringify(results));
System.exit(0);
