// The toggle in the quick settings and its menu: machines with what is in their readers, and what could be.
import Atk from 'gi://Atk';
import Clutter from 'gi://Clutter';
import GObject from 'gi://GObject';
import Pango from 'gi://Pango';
import Shell from 'gi://Shell';
import St from 'gi://St';
import * as Config from 'resource:///org/gnome/shell/misc/config.js';
import * as PopupMenu from 'resource:///org/gnome/shell/ui/popupMenu.js';
import * as QuickSettings from 'resource:///org/gnome/shell/ui/quickSettings.js';

import {State} from './model.js';
import * as Words from './words.js';

const APPLICATION = 'org.virtcard.Cards.desktop';
const HAS_TITLE = parseInt(Config.PACKAGE_VERSION) >= 44;

// One machine, with its menu of what can be done.
const MachineItem = GObject.registerClass(
class VirtcardMachineItem extends PopupMenu.PopupSubMenuMenuItem {
    _init(cardIcon) {
        super._init('', true);
        this.setOrnament(PopupMenu.Ornament.HIDDEN);
        this.icon.icon_name = 'computer-symbolic';
        this._cardIcon = cardIcon;
        this._status = new St.Label({
            style_class: 'virtcard-status',
            y_align: Clutter.ActorAlign.CENTER,
        });
        this._status.clutter_text.ellipsize = Pango.EllipsizeMode.MIDDLE;
        this.insert_child_at_index(this._status, this.get_n_children() - 1);
    }

    // `others` are all machines, to say who else has a card; `act(card)` inserts it, and ejects without one.
    show(machine, cards, others, isBusy, act) {
        const status = isBusy ? Words.busy() : Words.status(machine);
        this.label.text = machine.name;
        this._status.text = status;
        this.accessible_name = `${machine.name}: ${status}`;
        this.setSensitive(![State.OFF, State.PENDING, State.ELSEWHERE].includes(machine.state));
        const state = JSON.stringify([machine, cards, isBusy]);
        if (state === this._state)
            return;
        this._state = state;
        this.menu.removeAll();
        if (machine.card && machine.state === State.INSERTED)
            this._offer(Words.eject(machine), 'media-eject-symbolic', isBusy, () => act(null));
        const offered = cards.filter(card => card.source !== machine.card?.source || machine.state !== State.INSERTED);
        offered.forEach(card => this._offerCard(card, others, isBusy, () => act(card)));
        if (!cards.length)
            this._note(Words.noCard());
        if (machine.error)
            this._note(machine.error);
    }

    _offerCard(card, machines, isBusy, activate) {
        const item = this._offer(Words.insert(card), this._cardIcon, isBusy, activate);
        const owners = machines.filter(machine => machine.card?.source === card.source).map(machine => machine.name);
        if (owners.length) {
            item.add_child(new St.Label({
                text: Words.alsoIn(owners),
                style_class: 'virtcard-status',
                y_align: Clutter.ActorAlign.CENTER,
            }));
        }
    }

    _offer(text, icon, isBusy, activate) {
        const item = new PopupMenu.PopupImageMenuItem(text, icon, {style_class: 'virtcard-offer'});
        item.setOrnament(PopupMenu.Ornament.HIDDEN);
        item.setSensitive(!isBusy);
        item.connect('activate', activate);
        this.menu.addMenuItem(item);
        return item;
    }

    _note(text) {
        const item = new PopupMenu.PopupMenuItem(text, {reactive: false, can_focus: false, style_class: 'virtcard-note'});
        item.setOrnament(PopupMenu.Ornament.HIDDEN);
        item.label.clutter_text.line_wrap = true;
        item.label.clutter_text.ellipsize = Pango.EllipsizeMode.NONE;
        this.menu.addMenuItem(item);
    }
});

export const Toggle = GObject.registerClass(
class VirtcardToggle extends QuickSettings.QuickMenuToggle {
    _init(icon) {
        super._init({
            [HAS_TITLE ? 'title' : 'label']: Words.title(),
            gicon: icon,
            toggleMode: false,
            accessible_role: Atk.Role.PUSH_BUTTON,
        });
        this.name = 'virtcard-toggle';
        this._cardIcon = icon;
        this._items = new Map();
        this._headings = [];
        this.menu.setHeader(icon, Words.title());
        this._section = new PopupMenu.PopupMenuSection();
        this.menu.addMenuItem(this._section);
        this._separator = new PopupMenu.PopupSeparatorMenuItem();
        this.menu.addMenuItem(this._separator);
        this._open = this.menu.addSettingsAction(Words.openApplication(), APPLICATION);
        this._open.setOrnament(PopupMenu.Ornament.HIDDEN);
        // Nothing can be switched on or off here: wherever it is clicked, the menu opens.
        this.connect('clicked', () => this.menu.open());
    }

    // `groups` are of {key, heading, machines, cards, isBusy(machine), act(machine, card)}, one for each virtcardd.
    show(groups) {
        const machines = groups.flatMap(group => group.machines);
        const text = Words.summary(machines);
        this.checked = machines.some(machine => machine.state === State.INSERTED);
        if (HAS_TITLE)
            this.subtitle = text;
        this.menu.setHeader(this._cardIcon, Words.title(), text);
        this._open.visible = Shell.AppSystem.get_default().lookup_app(APPLICATION) !== null;
        this._separator.visible = this._open.visible;
        const layout = JSON.stringify(groups.map(group => [group.key, group.machines.map(machine => machine.key)]));
        if (layout !== this._layout)
            this._build(groups);
        this._layout = layout;
        for (const group of groups) {
            for (const machine of group.machines) {
                this._items.get(`${group.key} ${machine.key}`).show(
                    machine, group.cards, group.machines, group.isBusy(machine), card => group.act(machine, card));
            }
        }
    }

    // The items themselves stay while machines do, so that an open one stays open.
    _build(groups) {
        const before = this._items;
        this._items = new Map();
        this._headings.forEach(item => item.destroy());
        this._headings = [];
        const filled = groups.filter(group => group.machines.length);
        const wanted = filled.flatMap(group => group.machines.map(machine => `${group.key} ${machine.key}`));
        before.forEach((item, key) => wanted.includes(key) || item.destroy());
        let position = 0;
        for (const group of filled) {
            if (filled.length > 1)
                this._head(new PopupMenu.PopupSeparatorMenuItem(group.heading), position++);
            for (const machine of group.machines) {
                const key = `${group.key} ${machine.key}`;
                const item = before.get(key) ?? new MachineItem(this._cardIcon);
                if (before.has(key))
                    this._section.moveMenuItem(item, position++);
                else
                    this._section.addMenuItem(item, position++);
                this._items.set(key, item);
            }
        }
        if (!filled.length) {
            const item = new PopupMenu.PopupMenuItem(Words.noMachine(), {reactive: false, can_focus: false});
            item.setOrnament(PopupMenu.Ornament.HIDDEN);
            this._head(item, 0);
        }
    }

    _head(item, position) {
        this._section.addMenuItem(item, position);
        this._headings.push(item);
    }
});
