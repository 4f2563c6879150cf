import {Menu} from './widgets.js';

const menu = new Menu();

export const panel = {
    statusArea: {
        quickSettings: {
            menu,
            indicators: [],
            items: [],
            addExternalIndicator(indicator) {
                this.indicators.push(indicator);
                this.items.push(...indicator.quickSettingsItems);
            },
        },
    },
};

export const messageTray = {
    sources: [],
    add(source) {
        this.sources.push(source);
        source.connect('destroy', () => (this.sources = this.sources.filter(each => each !== source)));
    },
};
