// Questions to the person: one on the screen at a time, in the order in which they came. Whatever is not clearly a yes
// is a no: a notification that is closed, a question that is over, an end of everything.
import GLib from 'gi://GLib';

const DENY = 'deny';
const ONCE = 'once';

export class Questions {
    // `show(question, answer)` puts a question on the screen and gives a function that takes it off; it calls `answer`
    // with a choice.
    constructor(show) {
        this._show = show;
        this._waiting = [];
        this._current = null;
        this._clicks = [];
    }

    // Calls `answer` with the choice, exactly once. `asker` tells apart who may cancel which ids.
    ask(asker, question, answer) {
        if (this._wasClicked(question)) {
            answer(ONCE);
            return;
        }
        const asked = {asker, question, answer, withdraw: null, timer: 0};
        asked.timer = GLib.timeout_add_seconds(GLib.PRIORITY_DEFAULT, question.patience, () => {
            asked.timer = 0;
            this._settle(asked, DENY);
            return GLib.SOURCE_REMOVE;
        });
        this._waiting.push(asked);
        this._next();
    }

    cancel(asker, id) {
        this._over(asked => asked.asker === asker && asked.question.id === id);
    }

    // Nobody of `asker` waits for an answer any more.
    cancelAll(asker) {
        this._over(asked => asked.asker === asker);
    }

    // The person clicked on just this: a question whether that may be is answered by it. Until the function that comes
    // back is called.
    expect(uuid, source) {
        const click = {uuid, source};
        this._clicks.push(click);
        return () => (this._clicks = this._clicks.filter(each => each !== click));
    }

    stop() {
        this._over(() => true);
        this._clicks = [];
    }

    _wasClicked({uuid, rawSource, operation, choices}) {
        return operation === 'insert' && choices.includes(ONCE) &&
            this._clicks.some(click => click.uuid === uuid && click.source === rawSource);
    }

    _over(isOver) {
        const all = this._current ? [this._current, ...this._waiting] : [...this._waiting];
        const over = all.filter(isOver);
        this._waiting = this._waiting.filter(asked => !over.includes(asked));
        over.forEach(asked => this._settle(asked, DENY));
    }

    _next() {
        if (this._current || !this._waiting.length)
            return;
        const asked = this._waiting.shift();
        this._current = asked;
        asked.withdraw = this._show(asked.question, choice => this._settle(asked, choice));
    }

    _settle(asked, choice) {
        if (!asked.answer)
            return;
        const {answer, withdraw, question} = asked;
        asked.answer = null;
        if (asked.timer)
            GLib.source_remove(asked.timer);
        asked.timer = 0;
        this._waiting = this._waiting.filter(each => each !== asked);
        if (this._current === asked)
            this._current = null;
        withdraw?.();
        answer(question.choices.includes(choice) ? choice : DENY);
        this._next();
    }
}
