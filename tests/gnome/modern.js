// The extension as GNOME 45 and later load it, on stand-ins for the shell. ARGV: the folder of the extension. The words
// are those of the real shell's interface; that it looks right there is not proven here.
import GLib from 'gi://GLib';
import System from 'system';

import {PACKAGE_VERSION} from './stubs/config.js';
import * as Main from './stubs/main.js';
import {alive} from './stubs/widgets.js';

const [folder] = ARGV;
const load = name => import(`file://${folder}/${name}.js`);
const quickSettings = Main.panel.statusArea.quickSettings;

function check(condition, what) {
    if (!condition)
        throw new Error(what);
}

const QUESTION = {
    id: '1', uuid: 'u1', domain: 'win11', source: 'reader:Key', operation: 'insert',
    choices: ['once', 'time'], seconds: 600, patience: 60,
};
const OBJECTS = new Map([
    ['/d/1', {'org.virtcard1.Domain': {Name: 'win11', Uuid: 'u1', Id: 1, Enabled: true, Live: true, Mode: 'bridge'}}],
    ['/b/1', {'org.virtcard1.Bridge': {Domain: '/d/1', State: 'inserted', Source: 'card:jane', Active: true}}],
    ['/c/1', {'org.virtcard1.Card': {Name: 'jane', Type: 'piv', Domains: ['/d/1']}}],
    ['/c/2', {'org.virtcard1.Card': {Name: 'john', Type: 'piv', Domains: []}}],
]);

async function main() {
    const Words = await load('words');
    const Asked = await load('asked');
    const {read} = await load('model');
    const {default: Extension} = await load('extension');
    const before = alive.size;
    const extension = new Extension(folder);
    extension.enable();
    const applet = extension._applet;
    check(quickSettings.indicators.length === 1 && quickSettings.items.length === 1, 'it is in the quick settings');
    const [toggle] = quickSettings.items;
    check(!toggle.visible, 'without virtcardd there is nothing to see');

    const acts = [];
    const group = {
        ...read(OBJECTS), key: 'system', heading: 'System', isBusy: () => false,
        act: (machine, card) => acts.push([machine.name, card?.name ?? null]),
    };
    applet._indicator.show([group]);
    check(toggle.visible && toggle.checked && toggle.subtitle === Words.summary(group.machines), 'the toggle');
    check(applet._indicator.children[0].visible, 'the icon in the top bar');
    const [item] = toggle.menu.items[0].items;
    check(item.label.text === 'win11', 'the machine');
    item.menu.items.forEach(each => each.emit('activate'));
    check(JSON.stringify(acts) === '[["win11",null],["win11","john"]]', `clicks: ${JSON.stringify(acts)}`);
    applet._indicator.show([group, {...group, key: 'session', heading: 'Own'}]);
    check(toggle.menu.items[0].items.length === 4, 'two headings, two machines');
    applet._indicator.show([]);
    check(!toggle.visible && toggle.menu.items[0].items.length === 1, 'everything is gone');

    const answers = [];
    const ask = () => applet._questions.ask('daemon', Asked.question(QUESTION), answer => answers.push(answer));
    const shown = () => Main.messageTray.sources.flatMap(source => source.notifications);
    ask();
    const [question] = shown();
    check(question.urgency === 3 && question.resident, 'a question stays');
    check(question.actions.map(action => action.label).join() === 'Deny,Allow Once,For 10 minutes', 'buttons');
    question.acknowledged = true;
    question.emit('activated');
    while (GLib.MainContext.default().iteration(false));
    check(answers.length === 0, 'a click beside the buttons answers nothing');
    check(parseInt(PACKAGE_VERSION) < 46 || question.acknowledged === false, 'it is shown again');
    question.actions[1].callback();
    check(answers.join() === 'once' && shown().length === 0, 'it is answered, and gone');
    ask();
    shown()[0].destroy();
    check(answers.join() === 'once,deny', 'closed is a no');
    applet._tell({kind: 'pin-guard', domain: 'win11', source: 'Key'});
    check(shown().length === 1, 'a warning');
    ask();
    extension.disable();
    check(answers.join() === 'once,deny,deny', 'the end is a no');
    check(shown().length === 0 && Main.messageTray.sources.length === 0, 'no notification is left');
    check(alive.size === before, `left: ${[...alive].map(each => each.constructor.name)}`);
}

try {
    await main();
} catch (error) {
    printerr(`${error.message}\n${error.stack}`);
    System.exit(1);
}
