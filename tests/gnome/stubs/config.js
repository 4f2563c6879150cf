import GLib from 'gi://GLib';

export const PACKAGE_VERSION = GLib.getenv('STUB_SHELL_VERSION');
