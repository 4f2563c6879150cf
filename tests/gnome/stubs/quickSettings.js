import GObject from 'gi://GObject';

import {Menu, Widget} from './widgets.js';

export const QuickMenuToggle = GObject.registerClass(
class StubQuickMenuToggle extends Widget {
    _init(parameters) {
        if (!parameters.title)
            throw new Error('toggles have a title since GNOME 44');
        super._init(parameters);
        this.menu = new Menu();
    }
});

export const SystemIndicator = GObject.registerClass(
class StubSystemIndicator extends Widget {
    _init() {
        super._init();
        this.quickSettingsItems = [];
    }

    _addIndicator() {
        const icon = new Widget();
        this.add_child(icon);
        return icon;
    }
});
