// The person's language.
import Gettext from 'gettext';

import {fill} from './text.js';

export const DOMAIN = 'virtcard-gnome-shell';

export const _ = text => Gettext.dgettext(DOMAIN, text);
export const _n = (one, many, number) => fill(Gettext.dngettext(DOMAIN, one, many, number), {number});
