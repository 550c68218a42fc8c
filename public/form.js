// A form from a JSON Schema: a control for each member, and what they say as a value.
import { h } from './dom.js';

/** `{element, value(), check()}`; `value()` throws when something cannot be read. */
export function schemaForm(schema) {
  if (schema?.type !== 'object' || !schema.properties) return jsonField('input', schema, '{}');
  return objectForm(schema, '');
}

function objectForm(schema, path) {
  const required = new Set(schema.required ?? []);
  const parts = Object.entries(schema.properties ?? {}).map(([name, member]) => ({ name, isRequired: required.has(name), ...field(name, member, `${path}/${name}`) }));
  return {
    element: h('div', { class: 'fields' }, parts.map((part) => part.element), parts.length === 0 && h('p', { class: 'soft' }, 'It takes no input.')),
    value() {
      const made = {};
      for (const part of parts) {
        const value = part.value();
        if (value !== undefined) made[part.name] = value;
        else if (part.isRequired) throw new Error(`${part.name} is required`);
      }
      return made;
    },
    /** Marks the controls that the server's pointers name. */
    mark(pointers) { for (const part of parts) part.mark?.(pointers); },
  };
}

function field(name, schema, path) {
  if (schema.type === 'object' && schema.properties) {
    const inner = objectForm(schema, path);
    return { ...inner, element: h('fieldset', {}, h('legend', {}, name), inner.element) };
  }
  const id = `field${path.replaceAll('/', '-')}`;
  const wrap = (control, value) => ({
    element: h('label', { htmlFor: id }, h('span', {}, name), control, schema.description && h('small', { class: 'soft' }, schema.description)),
    value,
    mark(pointers) { control.setAttribute('aria-invalid', String(pointers.some((pointer) => pointer === path || pointer.startsWith(`${path}/`)))); },
  });
  if (schema.enum) {
    const choices = schema.enum.map((choice) => h('option', { value: JSON.stringify(choice) }, String(choice)));
    const control = h('select', { id, name }, choices);
    if (schema.default !== undefined) control.value = JSON.stringify(schema.default);
    return wrap(control, () => JSON.parse(control.value));
  }
  switch (schema.type) {
    case 'integer': case 'number': {
      const control = h('input', { id, name, type: 'number', min: schema.minimum ?? '', max: schema.maximum ?? '', step: schema.type === 'integer' ? 1 : 'any', value: schema.default ?? '' });
      return wrap(control, () => control.value === '' ? undefined : Number(control.value));
    }
    case 'boolean': {
      const control = h('input', { id, name, type: 'checkbox', checked: schema.default === true });
      return wrap(control, () => control.checked);
    }
    case 'string': {
      const control = h('input', { id, name, type: 'text', value: schema.default ?? '' });
      return wrap(control, () => control.value === '' ? undefined : control.value);
    }
    case 'array': if (schema.items?.type === 'string') {
      const control = h('textarea', { id, name, rows: 2, placeholder: 'one to a line' }, (schema.default ?? []).join('\n'));
      return wrap(control, () => {
        const lines = control.value.split('\n').map((line) => line.trim()).filter(Boolean);
        return lines.length ? lines : undefined;
      });
    }
    default:
  }
  return jsonField(name, schema, schema?.default === undefined ? '' : JSON.stringify(schema.default), id, wrap);
}

function jsonField(name, schema, start, id = 'field-input', wrap = null) {
  const control = h('textarea', { id, name, rows: 4, placeholder: 'JSON', spellcheck: false }, start);
  const value = () => {
    if (control.value.trim() === '') return undefined;
    try { return JSON.parse(control.value); } catch (error) { throw new Error(`${name}: ${error.message}`); }
  };
  return wrap ? wrap(control, value) : { element: h('label', { htmlFor: id }, h('span', {}, name), control), value, mark() {} };
}
