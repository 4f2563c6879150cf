// In place of gi://St, gi://Clutter, gi://Atk, gi://Pango and gi://Shell, which need the shell's own process.
import {Widget} from './widgets.js';

export default {
    Label: Widget,
    ActorAlign: {CENTER: 2},
    Role: {PUSH_BUTTON: 1},
    EllipsizeMode: {NONE: 0, MIDDLE: 2},
    AppSystem: {get_default: () => ({lookup_app: () => null})},
};
