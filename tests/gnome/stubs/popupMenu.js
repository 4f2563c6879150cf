import GObject from 'gi://GObject';

import {Menu, Widget} from './widgets.js';

export const Ornament = {NONE: 0, DOT: 1, CHECK: 2, HIDDEN: 3};

const PopupBaseMenuItem = GObject.registerClass(
class StubBaseMenuItem extends Widget {
    _init(text, parameters = {}) {
        super._init(parameters);
        this.label = new Widget({text});
        this.add_child(this.label);
    }

    setSensitive(sensitive) {
        this.sensitive = sensitive;
    }
});

export const PopupMenuItem = PopupBaseMenuItem;
export const PopupSeparatorMenuItem = PopupBaseMenuItem;

export const PopupImageMenuItem = GObject.registerClass(
class StubImageMenuItem extends PopupBaseMenuItem {
    _init(text, icon, parameters = {}) {
        super._init(text, parameters);
        this.icon = icon;
    }
});

export const PopupSubMenuMenuItem = GObject.registerClass(
class StubSubMenuMenuItem extends PopupBaseMenuItem {
    _init(text) {
        super._init(text);
        this.icon = {};
        this.menu = new Menu();
        this.connect('destroy', () => this.menu.destroy());
    }
});

export class PopupMenuSection extends Menu {}
