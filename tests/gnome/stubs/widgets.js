// What the extension uses of the shell's widgets, without a screen. Everything made and not destroyed is in `alive`.
import GObject from 'gi://GObject';

export const alive = new Set();

export const Widget = GObject.registerClass({
    Signals: {clicked: {}, activate: {}, destroy: {}, activated: {}},
}, class StubWidget extends GObject.Object {
    _init(parameters = {}) {
        super._init();
        Object.assign(this, parameters);
        this.children = [];
        this.clutter_text = {};
        alive.add(this);
    }

    add_child(child) {
        this.children.push(child);
    }

    insert_child_at_index(child, index) {
        this.children.splice(index, 0, child);
    }

    setOrnament() {}

    get_n_children() {
        return this.children.length;
    }

    destroy() {
        if (!alive.delete(this))
            throw new Error(`${this.constructor.name} was destroyed twice`);
        this.children.forEach(child => child.destroy());
        this.emit('destroy');
    }
});

export class Menu {
    constructor() {
        this.items = [];
        this.isOpen = false;
        alive.add(this);
    }

    addMenuItem(item, position = this.items.length) {
        this.items.splice(position, 0, item);
        item.connect?.('destroy', () => (this.items = this.items.filter(each => each !== item)));
    }

    addSettingsAction() {
        const item = new Widget();
        this.addMenuItem(item);
        return item;
    }

    moveMenuItem(item, position) {
        this.items = this.items.filter(each => each !== item);
        this.items.splice(position, 0, item);
    }

    setHeader(icon, title, subtitle = '') {
        this.header = [title, subtitle];
    }

    removeAll() {
        [...this.items].forEach(item => item.destroy());
    }

    open() {
        this.isOpen = true;
    }

    close() {
        this.isOpen = false;
    }

    destroy() {
        this.removeAll();
        alive.delete(this);
    }
}
